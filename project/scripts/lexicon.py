"""Words of the sample corpora. Only data; `grammar.py` says how they combine.

A list is cut into shared and held-out items by position (see `make_corpora.py`), so neighbours in a
list should be of the same sort, and an item must make sense in each sentence that may draw it.
"""

import re


def words(text: str) -> tuple[str, ...]:
    """Comma-separated items, over any number of lines."""
    return tuple(item.strip() for item in re.sub(r"\s+", " ", text).split(",") if item.strip())


def lines(text: str) -> tuple[str, ...]:
    """One item a line; after a backslash an item goes on in the next line."""
    return tuple(re.sub(r"\s+", " ", line.strip()) for line in text.splitlines() if line.strip())


# ------------------------------------------------------------------------------------------ reviews

# name | kind | aspects as "class noun"; plural nouns end in a single s
PRODUCTS = lines("""
kettle | kitchen | build lid, build handle, look finish, clean filter, work heating element
blender | kitchen | work motor, noise motor, clean jug, build base, ease controls
toaster | kitchen | look design, clean crumb tray, work heating element, ease dial, build lever
headphones | tech | sound sound, sound bass, comfort ear cushions, build hinges, power battery
coffee grinder | kitchen | noise motor, work burrs, clean hopper, size hopper, build casing
slow cooker | kitchen | size pot, clean pot, ease timer, look finish, build lid
frying pan | kitchen | build handle, clean coating, look colour, work base
bread machine | kitchen | ease menu, noise paddle, clean tin, work motor, look design
food processor | kitchen | work blades, clean bowl, size bowl, noise motor, ease instructions
keyboard | tech | build keys, noise keys, comfort wrist rest, look design, power battery
monitor | tech | screen screen, screen picture, build stand, ease menu, look design
e-reader | tech | screen screen, power battery, ease menu, look cover, work page button
tablet | tech | screen display, power battery, sound speaker, work processor, build casing
printer | tech | ease setup, noise paper feed, work paper feed, size paper tray, ease app
webcam | tech | screen picture, sound microphone, build clip, ease setup
earbuds | tech | comfort silicone tips, sound sound, power battery, build charging case, ease app
portable speaker | tech | sound bass, sound sound, power battery, build casing, ease buttons
smartwatch | tech | comfort strap, screen display, power battery, ease app, look design
video doorbell | tech | screen picture, ease setup, power battery, sound microphone, ease app
tent | outdoor | weather flysheet, weather seams, build poles, ease instructions, size porch
rucksack | outdoor | comfort shoulder straps, build zips, size main compartment, size pockets, \
weather rain cover
sleeping bag | outdoor | comfort lining, build zip, weather outer shell, look colour, size hood
hiking boots | outdoor | comfort insoles, weather uppers, build soles, look stitching, work grip
running shoes | outdoor | comfort insoles, work grip, look design, build soles, weather uppers
rain jacket | outdoor | weather seams, weather hood, build zip, size pockets, look cut
camping stove | outdoor | work burner, build legs, clean burner, noise burner, size pot stand
head torch | outdoor | comfort strap, power battery, ease buttons, build casing, work beam
bike lights | outdoor | work beam, power batteries, build brackets, ease buttons, weather seals
binoculars | outdoor | screen picture, comfort eyecups, build hinge, look finish, work focus wheel
vacuum cleaner | home | work suction, noise motor, clean filter, power battery, build hose
desk lamp | home | build arm, look design, ease dimmer, build base, screen light
office chair | home | comfort seat, comfort back support, build armrests, ease instructions, \
look fabric
fan heater | home | noise fan, work heating element, ease thermostat, look design, build casing
air purifier | home | noise fan, clean filter, ease app, work sensor, look design
sewing machine | home | ease manual, work motor, noise pedal, build needle clamp, look case
cordless drill | home | power battery, work chuck, comfort grip, build casing, noise gearbox
lawn mower | home | work blades, size grass box, noise engine, ease assembly, build wheels
alarm clock | home | screen display, ease buttons, sound speaker, look design, power backup battery
""")

# class -> good adjectives, bad adjectives, good predicates, bad predicates; <singular|plural>
ASPECTS = {
    "power": (
        words("reliable, long-lasting, impressive, dependable, consistent, robust"),
        words("feeble, hopeless, erratic, short-lived, dismal, pathetic"),
        lines("""
        <lasts|last> a full week
        <holds|hold> <its|their> charge for days on end
        still <shows|show> half after a long weekend
        <charges|charge> in under an hour
        <has|have> kept going through the longest day so far
        """),
        lines("""
        <dies|die> before lunch
        <drains|drain> overnight even when switched off
        <needs|need> charging twice a day
        <stopped|stopped> holding a charge after a month
        <takes|take> all night to charge and an hour to run down
        """),
    ),
    "sound": (
        words("clear, rich, balanced, warm, natural, detailed"),
        words("tinny, muffled, harsh, hollow, distorted, scratchy"),
        lines("""
        <stays|stay> clean at full volume
        <makes|make> every voice easy to follow
        <puts|put> far dearer models to shame
        <sounds|sound> as if someone were in the room
        <brings|bring> out things that I had never noticed before
        """),
        lines("""
        <crackles|crackle> at anything above half volume
        <turns|turn> voices to mush
        <sounds|sound> like a radio in a bucket
        <drops|drop> out every few minutes
        <gives|give> me a headache
        """),
    ),
    "comfort": (
        words("soft, supportive, comfortable, snug, springy, gentle"),
        words("stiff, scratchy, uncomfortable, lumpy, unforgiving, sweaty"),
        lines("""
        <stays|stay> comfortable all day
        <feels|feel> made to measure
        <needs|need> no breaking in
        <spreads|spread> the pressure nicely
        <is|are> kind to tired muscles
        """),
        lines("""
        <rubs|rub> after half an hour
        <leaves|leave> red marks
        <feels|feel> like cardboard
        <went|went> out of shape within a fortnight
        <makes|make> every hour feel like three
        """),
    ),
    "build": (
        words("sturdy, solid, robust, tough, well made, rigid"),
        words("flimsy, wobbly, brittle, shoddy, fragile, loose"),
        lines("""
        <has|have> survived two falls already
        <shows|show> no wear after months of use
        <feels|feel> built to last
        <has|have> not budged since the first day
        still <looks|look> as good as new
        """),
        lines("""
        <came|came> loose in the first week
        <snapped|snapped> the second time I used <it|them>
        <creaks|creak> at every touch
        <is|are> held together with tape by now
        <arrived|arrived> cracked
        """),
    ),
    "ease": (
        words("simple, clear, intuitive, straightforward, logical, sensible"),
        words("confusing, fiddly, baffling, awkward, clumsy, illogical"),
        lines("""
        <makes|make> sense straight away
        <needs|need> no explanation
        <took|took> me five minutes to work out
        <works|work> just the way you would expect
        <is|are> plain enough for my father, who hates gadgets
        """),
        lines("""
        <makes|make> no sense whatsoever
        <cost|cost> me a whole evening
        <drove|drove> my husband up the wall
        <seems|seem> to have been designed by someone in a hurry
        <took|took> three attempts and a phone call
        """),
    ),
    "look": (
        words("elegant, handsome, lovely, tasteful, smart, stylish"),
        words("ugly, dull, garish, dated, tacky, drab"),
        lines("""
        <looks|look> even better than in the pictures
        <gets|get> compliments from everyone
        <is|are> prettier than I dared to hope
        <has|have> not faded a bit
        <makes|make> the whole thing look expensive
        """),
        lines("""
        <looks|look> nothing like the pictures
        <faded|faded> within a month
        <shows|show> every mark
        <makes|make> the whole thing look like a toy
        <clashes|clash> with everything I own
        """),
    ),
    "work": (
        words("powerful, quick, precise, efficient, consistent, effective"),
        words("weak, sluggish, patchy, useless, unpredictable, underwhelming"),
        lines("""
        <copes|cope> with everything I throw at <it|them>
        <does|do> the job in half the time
        never <lets|let> me down
        <works|work> as well as on the first day
        <is|are> better than I had any right to expect
        """),
        lines("""
        <struggles|struggle> with the simplest jobs
        <gave|gave> up after a fortnight
        <does|do> half of what the box promises
        <fails|fail> just when I am in a hurry
        <needs|need> three goes to get anything done
        """),
    ),
    "noise": (
        words("quiet, silent, discreet, hushed, unobtrusive, muted"),
        words("noisy, loud, shrill, deafening, intrusive, squeaky"),
        lines("""
        <is|are> barely audible from the next room
        never <wakes|wake> the baby
        <makes|make> less noise than the fridge
        <lets|let> me listen to the radio in peace
        """),
        lines("""
        <rattles|rattle> like an old tractor
        <drives|drive> the dog mad
        <drowns|drown> out the television
        <makes|make> a grinding sound from morning to night
        """),
    ),
    "size": (
        words("roomy, practical, spacious, generous, adequate for two, ample"),
        words("cramped, impractical, tiny, poky, stingy, undersized"),
        lines("""
        <holds|hold> more than you would think
        <is|are> just the right size
        <leaves|leave> room to spare
        <takes|take> everything I need
        """),
        lines("""
        <holds|hold> next to nothing
        <is|are> a good deal smaller than stated
        <leaves|leave> no room for anything useful
        <is|are> too small for an adult
        """),
    ),
    "clean": (
        words("easy to clean, hygienic, spotless, easy to look after, stain-free, fuss-free"),
        words("hard to clean, grubby, sticky, greasy, impossible to wash, stained"),
        lines("""
        <comes|come> off in seconds
        <rinses|rinse> clean under the tap
        <goes|go> in the dishwasher without any trouble
        <wipes|wipe> clean in a moment
        """),
        lines("""
        <traps|trap> every crumb
        <stays|stay> greasy however long I scrub
        <smells|smell> after a week
        <rusted|rusted> after the second wash
        """),
    ),
    "weather": (
        words("waterproof, windproof, weatherproof, watertight, dependable, rainproof"),
        words("leaky, draughty, clammy, porous, damp, soggy"),
        lines("""
        <kept|kept> me dry through a whole weekend of rain
        <shrugs|shrug> off the worst showers
        <keeps|keep> the wind out
        <dries|dry> overnight
        """),
        lines("""
        <let|let> water in on the first trip
        <soaks|soak> through in a drizzle
        <gives|give> up at the first gust
        <stays|stay> wet for days
        """),
    ),
    "screen": (
        words("sharp, bright, crisp, steady, vivid, even"),
        words("dim, blurry, grainy, murky, washed out, yellowish"),
        lines("""
        <does|do> not tire my eyes
        <shows|show> colours exactly as they are
        <is|are> easy on the eyes even at night
        <makes|make> the smallest print readable
        """),
        lines("""
        <flickers|flicker> at random
        <gives|give> everything a green tint
        <goes|go> dark every ten minutes
        <hurts|hurt> my eyes after a while
        """),
    ),
}

PURPOSES = {
    "kitchen": words("""
    our tiny kitchen, the office kitchen, my new flat, Sunday breakfasts, the holiday cottage, a
    family of five, my student room, the canteen at work
"""),
    "tech": words("""
    working from home, the daily commute, my evening classes, the family holiday, video calls, my
    home office, long train journeys, my band practice
"""),
    "outdoor": words("""
    a week in the hills, the school trip, weekend walks, a cycling tour, the allotment, a music
    festival, my first long-distance hike, early morning outings
"""),
    "home": words("""
    the spare room, our new house, my workshop, the upstairs landing, the back garden, my mother's
    flat, the garden shed, a rented flat
"""),
}

RELATIVES = words("""
    wife, husband, sister, brother, father, mother, daughter, son, flatmate, neighbour,
    grandfather, aunt, boss, cousin, girlfriend, partner
""")

# ---------------------------------------------------------------------------------- names of people

WOMEN = words("""
    Anna, Florence, Priya, Charlotte, Fatima, Ingrid, Sydney, Mei, Georgia, Rosa, April, Chiara,
    Adelaide, Noor, Elena, Victoria, Zofia, June, Amara, Helen, Chelsea, Yuki, Margaret, May,
    Leila, Paris, Bridget, Sunita, Carmen, Olga, Hannah, Thandiwe, Isla, Savannah, Marta, Grace,
    Nadia, Astrid, Beatriz, Ruth, Ayesha, Lucia, Siobhan, Petra, Wanjiru
""")
MEN = words("""
    James, Austin, Ravi, Tomasz, Omar, Jordan, Kenji, Lars, Peter, Jackson, Carlos, Idris,
    Lincoln, Matteo, Samuel, Viktor, August, Kwame, Liam, Dominic, Hassan, Chester, Diego,
    Patrick, Anton, Rajesh, Emeka, Warwick, Nikhil, Bjorn, Alan, Rhys, Mateus, Jonas, Farid,
    Derek, Hugh, Stefan, Tariq, Walter, Ewan, Boris, Malik, Theo, Gareth
""")
SURNAMES = words("""
    Walsh, Lincoln, Okafor, Hastings, Patel, Preston, Novak, Lancaster, Kim, Chester, Moreau,
    Wells, Harlow, Bolton, Haddad, Kent, Lindqvist, Paris, Osei, Houston, Rossi, Warwick,
    Nakamura, York, Fletcher, Derby, Mbeki, Carlisle, Sharma, Durham, Ferrara, Ireland, Ashdown,
    Stafford, Yilmaz, Holland, Brandt, Stratford, Mwangi, Washington, Doyle, Windsor, Petrov,
    Selby, Alvarez, Halifax, Keane, Lisbon, Tanaka, Melrose, Hughes, Burnley, Adeyemi, Marlow,
    Svensson, Buxton, Cohen, Oakham, Rahman, Ripley, Costa, Barlow, Eriksen, Whitby, Nair, Hawes,
    Dubois, Kendal, Price, Bishop, Marsh, Banks, Young, Penny, Summers, Field, Carter, Baker,
    March, Day, Sterling, Pound, Castle, Hill
""")
INITIALS = words("A, B, C, D, E, F, G, H, J, K, L, M, N, P, R, S, T, W")
PARTICLES = words("van der, de, von, al, di, ter, da, du")


# ------------------------------------------------------------------------------------------- places

TOWNS = words("""
    Lincoln, Leeds, Hastings, Lagos, Preston, Osaka, Lancaster, Cork, Chester, Lisbon, Wells,
    Nairobi, Bolton, Porto, Halifax, Santiago, Paris, Kendal, Houston, Turin, Warwick, Perth,
    York, Accra, Derby, Dublin, Carlisle, Bergen, Durham, Austin, Stafford, Seville, Windsor,
    Gdansk, Washington, Sydney, Georgia, Jordan, Melrose, Victoria, Charlotte, Whitby, Chelsea,
    Buxton, Adelaide, Marlow, Florence, Kyoto, Burnley, Toronto, Savannah, Antwerp, Ripley, Cape
    Town, San Marino, Oakham, Buenos Aires, Selby, Stratford, New Delhi, Barlow, Hong Kong,
    Tallinn
""")
PLACE_STARTS = words("""
    Kel, Mar, Ost, Brack, Hollin, Thorn, Ald, Wen, Carr, Fen, Gris, Har, Pen, Wis, Stan, Ell, Rad,
    Tav, Lang, Mill, Cold, Dun, Ash, Birk
""")
PLACE_ENDS = words("""
    derby, ham, wick, bury, ford, ton, mouth, thorpe, combe, gate, stead, worth, bridge, field,
    ley, holme
""")
WIDER_PLACES = words("""
    Kent, Wales, Norway, the Midlands, Brittany, Ghana, Cornwall, Ontario, Scotland, the
    Netherlands, Bavaria, Queensland, Ireland, Peru, Andalusia, Yorkshire, the Baltic, Tuscany,
    Holland, Kerala
""")
STREETS = words("""
    Mill Lane, Station Road, Castle Street, Victoria Park, Lincoln Road, Market Square, Harbour
    View, York Terrace, King's Cross, Albert Bridge, Church Hill, Paris Gardens
""")

# ------------------------------------------------------------------------------------ organisations

SECTORS = words("""
    Foods, Shipping, Textiles, Energy, Motors, Pharmaceuticals, Airways, Logistics, Partners,
    Software, Breweries, Steel, Insurance, Dairies, Rail, Publishing, Media, Timber
""")
COINED_STARTS = words("""
    Nova, Tel, Quanti, Veri, Zen, Opti, Cyra, Lumi, Axi, Helio, Ardu, Pano, Syn, Mero, Elu, Fluxo
""")
COINED_ENDS = words("ris, mora, tec, dyne, lia, net, vance, gen, soft, cast, pharm, lux, via, ro")
LEGAL_FORMS = words("plc, Limited, Group, Holdings, LLC, SE, AG, SA, International, Corporation")
EMBLEMS = words("""
    Red Kite, Open Door, Second Chance, Blue Harbour, Lantern, Green Valley, Lighthouse, New Leaf,
    Silver Birch, Long Table, White Rose, Bright Start, Old Mill, Kingfisher
""")
ACRONYMS = words("""
    NTRA, EHB, UKWC, FSAB, ITWU, NMO, TRO, RCDA, HSIB, BVA, EMRC, PDSU, GWT, OFRA, CLDS, IPVA,
    WSTA, AEGU
""")
FIELDS = words("""
    Ocean Studies, Public Health, Rural Affairs, Climate Research, Housing Policy, Polar Research,
    Fiscal Studies, Plant Science, Urban Design, Crop Research
""")

MONTHS = words("""
    January, February, March, April, May, June, July, August, September, October, November,
    December
""")
WEEKDAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")

# ----------------------------------------------------------------------------------- news, at large

ROLES = words("""
    chief executive, finance director, head of research, chair, managing director, head coach,
    deputy director, chief engineer, editor, head of marketing, artistic director, chief scientist
""")
INDUSTRIES = words("""
    packaging, ferry, biscuit, wind power, bicycle, insurance, software, dairy, furniture,
    battery, chocolate, railway, publishing, fishing
""")
BUILDINGS = words("""
    library, swimming pool, primary school, fire station, health centre, bus station, sports hall,
    market hall, youth club, museum, concert hall, footbridge
""")
CRIMES = words("""
    fraud, burglary, arson, theft, perjury, tax evasion, forgery, blackmail, smuggling, handling
    stolen goods
""")
GOODS = words("""
    paintings, laptops, bicycles, coins, silver cups, watches, tractors, violins, rare books,
    power tools, copper cables, phones
""")
FINDINGS = words("""
    short walks lower blood pressure, bees remember colours for days, coral can recover faster
    than was thought, night shifts affect memory, hedgerows store more carbon than lawns, children
    learn best after a nap, owls avoid street lights, singing helps patients to breathe, salt
    marshes slow down storm waves, cats recognise recorded voices
""")
CONCERTS = words("""
    a brass band, two choirs, a film night, a food market, a kite workshop, a puppet show,
    open-air theatre, a poetry evening, a lantern parade, a ceilidh
""")
FAULTY = words("""
    prams, kettles, car seats, toy trains, hair dryers, ladders, bicycle helmets, chargers, garden
    chairs, smoke alarms, batteries, cheese spreads
""")
HAZARDS = words("""
    a risk of fire, a loose screw, faulty wiring, traces of metal, a broken seal, sharp edges, a
    weak joint, overheating
""")
SPORTS = words("""
    football, rugby, hockey, cricket, netball, basketball, handball, volleyball
""")
ARTS = words("""
    novel, documentary, album, exhibition, opera, short film, play, photograph, collection of
    poems, mural
""")

# -------------------------------------------------------------------------------------------- mails

# base, third person, past, participle, -ing form
VERBS = {
    "send": lines("""
    send sends sent sent sending
    forward forwards forwarded forwarded forwarding
    email emails emailed emailed emailing
    hand hands handed handed handing
    pass passes passed passed passing
    """),
    "edit": lines("""
    update updates updated updated updating
    finish finishes finished finished finishing
    check checks checked checked checking
    revise revises revised revised revising
    review reviews reviewed reviewed reviewing
    print prints printed printed printing
    read reads read read reading
    sign signs signed signed signing
    copy copies copied copied copying
    rewrite rewrites rewrote rewritten rewriting
    """),
    "arrange": lines("""
    book books booked booked booking
    cancel cancels cancelled cancelled cancelling
    move moves moved moved moving
    arrange arranges arranged arranged arranging
    change changes changed changed changing
    confirm confirms confirmed confirmed confirming
    plan plans planned planned planning
    postpone postpones postponed postponed postponing
    """),
    "fix": lines("""
    fix fixes fixed fixed fixing
    repair repairs repaired repaired repairing
    replace replaces replaced replaced replacing
    inspect inspects inspected inspected inspecting
    test tests tested tested testing
    clean cleans cleaned cleaned cleaning
    """),
    "pay": lines("""
    pay pays paid paid paying
    approve approves approved approved approving
    settle settles settled settled settling
    dispute disputes disputed disputed disputing
    query queries queried queried querying
    """),
    "think": lines("""
    think thinks thought thought thinking
    hope hopes hoped hoped hoping
    believe believes believed believed believing
    suspect suspects suspected suspected suspecting
    guess guesses guessed guessed guessing
    """),
}

DOCUMENTS = words("""
    report, draft, contract, schedule, proposal, budget, summary, leaflet, agenda, memo,
    spreadsheet, presentation, review, estimate, brochure, plan
""")
DOCUMENT_PLURALS = words("""
    slides, figures, minutes, drawings, forms, notes, photos, questions, tables, comments,
    translations, receipts
""")
MEETINGS = words("""
    meeting, workshop, call, interview, rehearsal, lunch, visit, presentation, briefing,
    conference, review, seminar
""")
DEVICES = words("""
    printer, laptop, projector, scanner, phone, server, monitor, router, copier, boiler, coffee
    machine, lift
""")
PURCHASES = words("""
    keyboard, parcel, desk, chair, cable, book, jacket, lamp, bicycle, carpet, tent, microphone
""")
ROOMS = words("""
    kitchen, office, hall, lobby, library, basement, canteen, garage, attic, garden, studio,
    workshop
""")
TEAMS = words("""
    team, board, committee, client, department, group, supplier, crew, agency, management,
    publisher, council
""")
FAMILY = words("""
    mum, dad, sister, brother, cousin, grandmother, uncle, wife, husband, daughter, son, aunt
""")
ADJECTIVES = words("""
    final, new, short, original, annual, detailed, first, missing, full, second, whole, recent,
    long, official, provisional, complete
""")
FEELINGS = words("""
    happy, glad, sorry, pleased, relieved, sad, delighted, surprised, grateful, ashamed
""")
QUALITIES = words("""
    good, clear, useful, expensive, long, late, difficult, helpful, complicated, interesting,
    strange, nice, dull, exciting, silly, hard
""")
ADVERBS = words("""
    really, probably, definitely, certainly, actually, apparently, clearly, obviously,
    surprisingly, undoubtedly, frankly, perhaps
""")
MANNERS = words("""
    quickly, carefully, properly, quietly, slowly, thoroughly, calmly, clearly, patiently,
    regularly, cheerfully, seriously
""")
FOODS = words("""
    cake, salad, bread, cheese, soup, wine, fruit, curry, rice, lemonade, coffee, pasta
""")
LONG_QUALITIES = words("useful, helpful, expensive, difficult, complicated, interesting, recent")
SHORT_QUALITIES = words("short, quick, brief, long, proper")
GOOD_QUALITIES = words("good, great, lovely, fine, perfect, wonderful, nice, excellent")
SUBJECTS = words("""
    travel, parking, heating, catering, security, insurance, transport, childcare, furniture,
    training, postage, equipment
""")
COMPANY_NAMES = words("""
    Meridian, Telmora, Hartwell, Novaris, Castle, Oakham, Lumicast, Brandt, Northgate, Sterling,
    Zenlia, Harlow
""")
