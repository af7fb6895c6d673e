"""Sentence templates of the sample corpora. Only data; `make_corpora.py` expands it.

In a template, `{name}` is a rule of the same name or a value fixed for the document, `[a|b]` is a
choice, and `<is|are>` agrees with the aspect of the product that the sentence is about. Each tuple
is cut into shared and held-out templates by position.
"""

from lexicon import lines, words

# ------------------------------------------------------------------------------------------ reviews

REVIEWS = {
    # what a document is made of
    "positive": lines("""
        {open} {asp_pos} {asp_pos} {end_pos}
        {open_doubt} {asp_pos} {end_pos}
        {asp_pos} {asp_pos} {fact}
        {open} {contrast_pos} {asp_pos}
        {open} {old_pos} {asp_pos}
        {contrast_pos} {end_pos}
        {open_doubt} {asp_pos} {contrast_pos}
        {old_pos} {asp_pos} {asp_pos} {end_pos}
        {open} {fact} {asp_pos} {service_pos}
        {asp_pos} {doubt_pos} {asp_pos}
        {open} {asp_pos} {contrast_pos} {end_pos}
        {open} {doubt_pos} {end_pos}
        {end_pos} {asp_pos} {asp_pos}
        {open_doubt} {contrast_pos} {fact} {end_pos}
        {fact} {asp_pos} {bad_luck} {asp_pos} {end_pos}
        """),
    "negative": lines("""
        {open} {asp_neg} {asp_neg} {end_neg}
        {open_hope} {asp_neg} {end_neg}
        {asp_neg} {asp_neg} {fact}
        {open} {contrast_neg} {asp_neg}
        {open} {old_neg} {asp_neg}
        {contrast_neg} {end_neg}
        {open_hope} {asp_neg} {contrast_neg}
        {old_neg} {asp_neg} {asp_neg} {end_neg}
        {open} {fact} {asp_neg} {service_neg}
        {asp_neg} {doubt_neg} {asp_neg}
        {open} {asp_neg} {contrast_neg} {end_neg}
        {open} {doubt_neg} {end_neg}
        {end_neg} {asp_neg} {asp_neg}
        {open_hope} {contrast_neg} {fact} {end_neg}
        {fact} {asp_neg} {good_luck} {asp_neg} {end_neg}
        """),
    "neutral": lines("""
        {open} {contrast_mid} {end_mid}
        {open} {fact} {fact} {end_mid}
        {asp_pos} {asp_neg} {end_mid}
        {open_hope} {contrast_mid} {asp_pos} {end_mid}
        {open} {asp_neg} {asp_pos} {end_mid}
        {contrast_mid} {fact} {end_mid}
        {open_doubt} {contrast_mid} {asp_neg} {end_mid}
        {end_mid} {contrast_mid}
        {open} {fact} {contrast_mid} {fact}
        {open} {contrast_mid} {contrast_mid}
        {fact} {fact} {end_mid}
        {old_mid} {contrast_mid} {end_mid}
        {open} {asp_mid} {contrast_mid}
        {asp_mid} {asp_mid} {end_mid}
        {open} {asp_mid} {fact}
        """),
    # how it starts
    "open": lines("""
        I bought {this} {product} for {purpose}.
        {a_product} for {purpose}, ordered [in a sale|on a whim|after reading far too many reviews].
        my {relative} gave me {this} {product} [for my birthday|last Christmas|when we moved].
        I have had {this} {product} for {n} [weeks|months] now.
        Ordered {them} on {weekday}, and {it} came on {weekday}.
        Paid {price} for {this} {product}.
        We needed {a_product} for {purpose} and took the first {one} in stock.
        This is my second {product_one}, the first having been lost in a move.
        I use {this} {product} [almost every day|about twice a week|at weekends only].
        my {relative} and I share {this} {product}.
        Bought for {purpose}, where {it} now get{s} used daily.
        I chose {this} {product} because the shop had nothing else.
        After {n} weeks with {this} {product}, here is what I think.
        I am not a person who writes reviews, but {this} {product} made me do it.
        {it} cost {price} at the time; I see the price has changed since.
        Got {them} second-hand from my {relative}, hardly used.
        A friend at work recommended {this} {product}.
        My [daughter|son] picked {this} {product} for {purpose}.
        {n} months of use for {purpose}, so this is not a first impression.
        """),
    "open_doubt": lines("""
        I was ready to hate {this} {product}.
        At {price}, I did not expect much.
        After all the bad reviews I nearly cancelled the order.
        The first day was a disaster, and all of it was my own fault.
        I had my doubts about {this} {product}.
        Who needs {a_product} at all, I used to say.
        my {relative} laughed at me for buying such [an ugly|a useless|an expensive] thing.
        I almost sent {them} back unopened.
        It took me a while to stop complaining about the price.
        The box was battered and I feared the worst.
        I only bought {them} because the good ones were sold out.
        """),
    "open_hope": lines("""
        I wanted to love {this} {product}.
        I had high hopes for {this} {product}.
        The advert promised the best {product} ever made.
        Everybody raves about {this} {product}, so I was excited.
        For {price} I expected something special.
        The first day was wonderful.
        After so many glowing reviews I could hardly wait.
        my {relative} swears by this brand, and I used to agree.
        What a beautiful box {it} came in!
        At first I was thrilled with {them}.
        I really tried to like {this} {product}.
        """),
    # one aspect
    "asp_pos": lines("""
        The {noun} {pred_good}.
        The {noun} <is|are> {good}, and <it|they> {pred_good}.
        The {noun} <is|are> not {bad} at all.
        I expected the {noun} to be {bad}, but <it|they> {pred_good}.
        The {noun} <is|are> {good} and {good}.
        [Others call|My neighbour calls] the {noun} {bad}; mine <is|are> [anything but|not].
        I [was warned|had read|was told] that the {noun} would be {bad}, which [turned \
        out|proved] to be nonsense.
        Even the {noun} {pred_good}.
        There is nothing {bad} about the {noun}.
        If you worry about the {noun}, don't: <it|they> {pred_good}.
        The {noun} <is|are> far less {bad} than I feared.
        What surprised me most <was|were> the {noun}, which {pred_good}.
        [Some people find|My son finds|The man in the shop finds] the {noun} {bad}. I don't.
        The {noun}, which looked {bad} in the [shop|pictures|advert], {pred_good}.
        It is [rare|a joy] to find {product_plural} whose {noun} {pred_good}.
        Not once have I had to complain about the {noun}.
        You will read that the {noun} <is|are> {bad}. Ignore it: <it|they> {pred_good}.
        [I kept|For weeks I have been] waiting for the {noun} to turn out {bad}. Still waiting.
        Nobody in this house has a bad word to say about the {noun}.
        My worry was the {noun}, and I need not have worried.
        [To my surprise|Whatever the reviews say|After a month of hard use], the {noun} {pred_good}.
        In {n} weeks of use the {noun} never once seemed {bad}.
        My {relative} keeps [telling everyone|saying|repeating] that the {noun} {pred_good}.
        Nobody in their right mind would call the {noun} {bad}.
        Far from being {bad}, the {noun} {pred_good}.
        The {noun} may look {bad} [at first|in the box|on paper], yet <it|they> {pred_good}.
        The {noun}? {good}. [Really|Simply|Wonderfully] {good}.
        It took me [a day|a week|a month] to notice how {good} the {noun} <is|are>.
        [Compared with|Next to] what I had before, the {noun} <is|are> [wonderfully|pleasantly] \
        {good}.
        The {noun} {pred_good}, [and no, nobody paid me to say so|which is more than I asked \
        for|just as I had hoped].
        The {noun} <is|are> [not exactly|hardly] {bad}, <is|are> <it|they>? No: <it|they> \
        {pred_good}.
        """),
    "asp_neg": lines("""
        The {noun} {pred_bad}.
        The {noun} <is|are> {bad}, and <it|they> {pred_bad}.
        The {noun} <is|are> not {good} at all.
        I expected the {noun} to be {good}, but <it|they> {pred_bad}.
        The {noun} <is|are> {bad} and {bad}.
        [Others call|My neighbour calls] the {noun} {good}; mine <is|are> [anything but|not].
        I [was promised|had read|was told] that the {noun} would be {good}, which [turned \
        out|proved] to be nonsense.
        Even the {noun} {pred_bad}.
        There is nothing {good} about the {noun}.
        If you hope for much from the {noun}, don't: <it|they> {pred_bad}.
        The {noun} <is|are> far less {good} than I hoped.
        What surprised me most <was|were> the {noun}, which {pred_bad}.
        [Some people find|My son finds|The man in the shop finds] the {noun} {good}. I don't.
        The {noun}, which looked {good} in the [shop|pictures|advert], {pred_bad}.
        It [takes some doing|takes nerve] to sell {product_plural} whose {noun} {pred_bad}.
        Not once have I been happy with the {noun}.
        You will read that the {noun} <is|are> {good}. Ignore it: <it|they> {pred_bad}.
        [I kept|For weeks I have been] waiting for the {noun} to turn out {good}. Still waiting.
        Nobody in this house has a good word to say about the {noun}.
        My one hope was the {noun}, and I need not have bothered.
        [To my surprise|Whatever the reviews say|After a month of light use], the {noun} {pred_bad}.
        In {n} weeks of use the {noun} never once seemed {good}.
        My {relative} keeps [telling everyone|saying|repeating] that the {noun} {pred_bad}.
        Nobody in their right mind would call the {noun} {good}.
        Far from being {good}, the {noun} {pred_bad}.
        The {noun} may look {good} [at first|in the box|on paper], yet <it|they> {pred_bad}.
        The {noun}? {bad}. [Really|Simply|Hopelessly] {bad}.
        It took me [a day|a week|a month] to notice how {bad} the {noun} <is|are>.
        [Compared with|Next to] what I had before, the {noun} <is|are> [painfully|noticeably] {bad}.
        The {noun} {pred_bad}, [and no, no rival paid me to say so|which is less than I asked \
        for|just as I had feared].
        The {noun} <is|are> [not exactly|hardly] {good}, <is|are> <it|they>? No: <it|they> \
        {pred_bad}.
        """),
    "asp_mid": lines("""
        The {noun} <is|are> neither {good} nor {bad}.
        The {noun} <is|are> average.
        I have no strong feelings about the {noun}.
        The {noun} could be more {good}, but I have seen worse.
        The {noun} <is|are> {good} on some days and {bad} on others.
        my {relative} finds the {noun} {good}; I find <it|them> {bad}.
        The {noun} <does|do> what <it|they> should, no more.
        As for the {noun}, about what you would expect for {price}.
        """),
    # two aspects against each other; c_pos and c_neg are clauses
    "c_pos": lines("""
        the {noun} {pred_good}
        the {noun} <is|are> {good}
        the {noun} <is|are> [really|very|surprisingly] {good}
        the {noun} <is|are> not {bad}
        """),
    "c_neg": lines("""
        the {noun} {pred_bad}
        the {noun} <is|are> {bad}
        the {noun} <is|are> [really|very|surprisingly] {bad}
        the {noun} <is|are> not {good}
        """),
    "contrast_pos": lines("""
        {c_neg}, but {c_pos}, and that is what counts.
        Yes, {c_neg}. But {c_pos}, so {it} stay{s}.
        Although {c_neg}, {c_pos}, and I would not swap {them} for anything.
        {c_neg}. I can live with that, because {c_pos}.
        People moan that {c_neg}. They forget that {c_pos}.
        So what if {c_neg}, when {c_pos}?
        I could complain that {c_neg}, but {c_pos}, so I won't.
        {c_neg} until you read the manual; since then {c_pos}.
        {c_pos}, and next to that it hardly matters that {c_neg}.
        My old complaint was that {c_neg}. That has been put right: {c_pos} now.
        [The box warns|The reviews warn] that {c_neg}. Who cares, when {c_pos}?
        {c_neg}? [True|Granted]. But {c_pos}, and I use {them} every day.
        Once I had stopped minding that {c_neg}, I noticed that {c_pos}, and I was won over.
        My [first|only] quarrel is that {c_neg}; on the big things, {c_pos}.
        """),
    "contrast_neg": lines("""
        {c_pos}, but {c_neg}, and that is what counts.
        Yes, {c_pos}. But {c_neg}, so {it} go{es} back.
        Although {c_pos}, {c_neg}, and I would swap {them} for anything.
        {c_pos}. I cannot live with {them} all the same, because {c_neg}.
        People say that {c_pos}. They forget that {c_neg}.
        So what if {c_pos}, when {c_neg}?
        I could mention that {c_pos}, but {c_neg}, so I won't.
        {c_pos} until the guarantee ends; since then {c_neg}.
        {c_neg}, and next to that it hardly matters that {c_pos}.
        I used to say that {c_pos}. That is over: {c_neg} now.
        [The box boasts|The reviews say] that {c_pos}. Who cares, when {c_neg}?
        {c_pos}? [True|Granted]. But {c_neg}, and I hardly use {them} any more.
        Once I had stopped marvelling that {c_pos}, I noticed that {c_neg}, and that was that.
        My [first|only] compliment is that {c_pos}; on the big things, {c_neg}.
        """),
    "contrast_mid": lines("""
        {c_pos}, but {c_neg}.
        On the plus side, {c_pos}. On the other hand, {c_neg}.
        {c_neg}, while {c_pos}, so it evens out.
        One half of me is pleased because {c_pos}; the other half notices that {c_neg}.
        {c_neg}, though {c_pos}.
        {c_pos} and {c_neg}: make of that what you will.
        Some days I am glad that {c_pos}, and on others I mind that {c_neg}.
        For every person who finds that {c_pos} there is one who says that {c_neg}.
        {c_pos}. {c_neg}. You decide which weighs more.
        I would say that {c_pos} and that {c_neg}, and leave it there.
        [Good news|The good part]: {c_pos}. [Bad news|The bad part]: {c_neg}.
        """),
    # against what there was before, or what others say
    "old_pos": lines("""
        My old {one} was {old_bad} and {old_bad}; this {one} is the opposite.
        The last {one} I had was {old_bad}, and I do not miss it for a second.
        {this} replaced a {old_bad} {one} that ruined my mornings.
        I put up with a {old_bad} old {one} for years, and this is another world.
        I had got used to {product_plural} being {old_bad}. Not any more.
        """),
    "old_neg": lines("""
        My old {one} was {old_good} and {old_good}; this {one} is the opposite.
        The last {one} I had was {old_good}, and I miss it every day.
        {this} replaced a {old_good} {one} that I should have kept.
        I threw out a {old_good} old {one} to make room for this, and I regret it.
        I had got used to {product_plural} being {old_good}. Not any more.
        """),
    "old_mid": lines("""
        My old {one} was neither better nor worse.
        Compared with my last {one}, I notice no difference.
        I came from a {old_bad} {one} and have moved on to an average one.
        this {one} is much like the {one} before.
        """),
    "old_bad": words("unreliable, noisy, clumsy, slow, ugly, useless, temperamental, rickety"),
    "old_good": words("reliable, quiet, handy, quick, lovely, perfect, indestructible, trusty"),
    "doubt_pos": lines("""
        I have tried hard to find a fault, without success.
        My one regret is that I did not buy {them} sooner.
        Whoever gave {them} one star must have had a broken {one}.
        Nothing to complain about, and I do like to complain.
        They would have to pay me to give {them} back.
        I did send {them} back once, by mistake, and ordered {them} again the same evening.
        The worst I can say is that my {relative} keeps borrowing {them}.
        """),
    "doubt_neg": lines("""
        I have tried hard to find something to praise, without success.
        My one comfort is that I did not pay the full price.
        Whoever gave {them} five stars must have had a better {one}.
        Nothing to be happy about, and I am easily pleased.
        They would have to pay me to keep {them}.
        I did give {them} a second chance, out of kindness, and gave up again the same evening.
        The best I can say is that my {relative} never asks to borrow {them}.
        """),
    "service_pos": lines("""
        When I had a question, the seller answered within the hour.
        A part was missing, and a new one was in the post the next day, no questions asked.
        Delivery took [two|three] days, a day less than promised.
        The hotline was friendly and knew what it was talking about.
        The refund for the wrong size was there before I had even sent the parcel.
        """),
    "service_neg": lines("""
        When I had a question, the seller never answered.
        A part was missing, and three weeks later it still is.
        Delivery took [two|three] weeks, and the parcel had been opened.
        The hotline was friendly and had no idea what it was talking about.
        I am still waiting for a refund that was promised to me in [May|June|October].
        """),
    "bad_luck": lines("""
        The courier left the box in the rain, but that is hardly the maker's fault.
        I dropped {them} twice in the first week, clumsy as I am.
        The box was damaged and the label was torn; inside, all was well.
        My {relative} managed to lose the instructions on the first day.
        """),
    "good_luck": lines("""
        The courier was charming, but I was not reviewing the courier.
        The box was lovely and the ribbon was a nice touch; inside, it was another story.
        I won a voucher with the order, which I shall spend elsewhere.
        The shop was kind enough to take back the gift wrap.
        """),
    "fact": lines("""
        {it} come{s} in a plain box with a cable and a booklet in {n} languages.
        The parcel arrived on {weekday}.
        There is a two-year guarantee.
        {it} {was} made in [Portugal|Poland|Vietnam|China], according to the label.
        I have used {them} {n} times so far.
        The colour is [dark blue|grey|olive green|black|red], as in the picture.
        I took the [smaller|larger|middle] size.
        The manual has {n} pages.
        my {relative} has the same {product} in [white|brown|orange].
        I use {them} mostly [in the mornings|in the evenings|on Sundays].
        There is also a bigger version for {price_more}.
        {it} weigh{s} {grams} grams on my scales.
        I am [left-handed|rather tall|over seventy], in case that matters.
        """),
    # how it ends
    "end_pos": lines("""
        I would buy {them} again tomorrow.
        Best {price} I have spent this year.
        I cannot fault {them}.
        Recommended without hesitation.
        my {relative} has ordered {one_too} as well now.
        If this {one} ever breaks, I will get exactly the same {one} again.
        Don't listen to the grumblers.
        I wish everything I bought were made like this.
        There is nothing I would change.
        Full marks from a hard judge.
        You could pay three times as much and not get anything better.
        Do not hesitate like I did.
        Shame that I cannot give six stars.
        So much for my prejudice!
        Money well spent.
        Sorry, old {product_one}, but you are not coming back.
        """),
    "end_neg": lines("""
        I would not buy {them} again.
        Worst {price} I have spent this year.
        I cannot recommend {them}.
        Returned without hesitation.
        my {relative} has cancelled the same order now.
        If I ever need {a_product} again, {it} will be from another maker.
        Don't listen to the five-star reviews.
        I wish I had kept the receipt.
        There is nothing I would keep.
        One star, and only because I cannot give none.
        You could pay a third of the price and not get anything worse.
        Hesitate longer than I did.
        Five stars for the box, none for what was in it.
        So much for my optimism!
        Perfect if you enjoy filling in return forms.
        A lovely idea, and I would love to see it done properly one day.
        """),
    "end_mid": lines("""
        Three stars: not bad, not good.
        {it} do{es} the job, and that is all.
        Ask me again in six months.
        I might buy {them} again, or I might not.
        Fine for {price}, I suppose.
        Neither a mistake nor a bargain.
        It depends on what you need.
        I have not made up my mind yet.
        There are better ones, and there are worse ones.
        About what I expected.
        I would neither recommend {them} nor warn anybody off.
        You get what you pay for.
        Somewhere in the middle, all in all.
        Nothing special, nothing wrong.
        Whether that is worth {price} is up to you.
        """),
}

# --------------------------------------------------------------------------------------------- news
# `@LABEL(...)` marks an entity. DATE covers weekdays, months, years and calendar dates, with "last"
# or "next"; "yesterday" and times of day are not marked, nor are nationalities, titles and months
# inside names of organisations.

NAMES = {
    "place": lines("""
        {town}
        {coined_town}
        {coined_town}
        [Upper|Lower|Great|Little] {coined_town}
        {town}
        {coined_town}-on-Sea
        Port {surname}
        St {first}'s
        {surname} [Bay|Hill|Cross|Heath]
        {coined_town} [Spa|Green|Quay]
        """),
    "coined_town": words("{place_start}{place_end}"),
    # full form // short form; {a} {b} surnames, {l} a place, {f} a first name
    "co": lines("""
        {a} {sector} // {a}
        {a} & {b} // {a} & {b}
        {z} // {z}
        {z} {legal} // {z}
        {a}, {b} & {c} // {a}
        {l} {sector} // {l} {sector}
        {a} {legal} // {a}
        {a} Brothers // {a} Brothers
        {f} {a} {sector} // {f} {a}
        {a} & [Sons|Daughters] // {a}
        {z} {sector} // {z}
        {acronym} {sector} // {acronym}
        """),
    "firm": lines("""
        {a} & {b} // {a} & {b}
        {z} // {z}
        {z} {legal} // {z}
        {a}, {b} & {c} // {a}
        {a} {legal} // {a}
        {a} Brothers // {a} Brothers
        {a} & [Sons|Daughters] // {a}
        {l} Works // {l} Works
        """),
    "bank": lines("""
        the Bank of {l}
        {a} Capital
        {z} Research
        {a} & {b}
        {l} Securities
        """),
    "council": lines("""
        {l} Council
        {l} City Council
        {l} Town Council
        {l} Borough Council
        {l} County Council
        {l} and {m} District Council
        """),
    "uni": lines("""
        the University of {l}
        {l} University
        {l} College
        {l} Institute of Technology
        {a} College
        the Institute for {field}
        {f} {a} University
        """),
    "club": lines("""
        {l} United
        {l} Rovers
        {l} Athletic
        {l} Wanderers
        {l} Town
        {l} City
        {l}
        {l} Lions
        {l} Falcons
        """),
    "charity": lines("""
        the {emblem} Trust
        the {a} Foundation
        the {f} {a} Foundation
        {emblem}
        {l} Food Bank
        Friends of {l}
        {emblem} Hospice
        {acronym}
        """),
    "agency": lines("""
        {acronym}
        the National {field} Agency
        the {field} Council
        {acronym}
        """),
    "service": lines("""
        {l} Police
        {l} Fire Service
        {l} Ambulance Service
        {l} Mountain Rescue
        {m} Police
        """),
    "union": lines("""
        {acronym}
        the Union of [Rail|Dock|Hospital|Bakery] Workers
        {l} Teachers' Union
        {acronym}
        """),
    "paper": lines("""
        {l} Chronicle
        {l} Evening Post
        {weekday} Courier
        {l} Herald
        {l} Gazette
        """),
    "full": lines("""
        {f} {a}
        {f} {a}
        {f} {initial}. {a}
        {f} {a}
        {f} {a}-{b}
        {f} {particle} {a}
        {initial}.{initial}. {a}
        """),
    "from_date": lines("""
        from @DATE({dom} {month})
        from @DATE(next {month})
        from @DATE({weekday})
        from [the middle|the end] of @DATE({month})
        from @DATE({month} {dom})
        """),
    "on_date": lines("""
        on @DATE({dom} {month})
        on @DATE({weekday})
        in @DATE({month})
        on @DATE({weekday})
        [in early|in late] @DATE({month})
        @DATE(last {weekday})
        on @DATE({weekday} {dom} {month})
        on @DATE({month} {dom})
        @DATE(last {month})
        """),
    # of things that have not happened yet
    "soon": lines("""
        on @DATE({dom} {month})
        on @DATE({weekday})
        in @DATE({month})
        @DATE(next {weekday})
        on @DATE({weekday} {dom} {month})
        in mid @DATE({month})
        @DATE(next {month})
        on @DATE({month} {dom})
        """),
    "by_date": lines("""
        by @DATE({dom} {month})
        by the end of @DATE({month})
        by @DATE({weekday})
        before @DATE({month})
        by @DATE(next {month})
        in @DATE({month})
        """),
    "in_year": lines("""
        in @DATE({year_num})
        in @DATE({month} {year_num})
        in the spring of @DATE({year_num})
        on @DATE({dom} {month} {year_num})
        [two|three|ten] years ago
        in @DATE({year_num})
        """),
    "money": lines("""
        @MONEY(£{decimal} million)
        @MONEY({currency}{amount})
        @MONEY({n_mid} million {coin})
        @MONEY({currency}{decimal} million)
        @MONEY({amount} {coin})
        @MONEY({currency}{n_mid} million)
        @MONEY(half a million {coin})
        @MONEY(€{amount})
        """),
    "deal_money": lines("""
        @MONEY({currency}{decimal} billion)
        @MONEY({currency}{n_mid}0 million)
        @MONEY({n_mid} million {coin})
        @MONEY({decimal} billion {coin})
        @MONEY(half a billion {coin})
        @MONEY({currency}{decimal} million)
        """),
    "small_money": lines("""
        @MONEY({currency}{n_mid})
        @MONEY({n_mid} {coin})
        @MONEY({currency}{digit}.50)
        @MONEY({n} {coin})
        """),
    "sum_money": lines("""
        @MONEY({currency}{digit}00)
        @MONEY({n_mid},000 {coin})
        @MONEY({currency}{digit},500)
        @MONEY(a thousand {coin})
        @MONEY({digit}00 {coin})
        """),
    "score": words("1-0, 2-1, 3-1, 2-0, 4-2, 3-2, 5-1"),
    "currency": words("£, $, €"),
    "coin": words("pounds, dollars, euros, kroner, rupees"),
    "where": lines("""
        in {l1}
        in {l1}
        in {l1}, {wider}
        near {l1}
        in {l1}
        just outside {l1}
        """),
}

# topic -> leads, and what may follow a lead
NEWS = {
    "appointment": (
        lines("""
        {co1} has [named|appointed] {p1} as its {role} {from_date}.
        {p1} is to [become|take over as] {role} of {co1}, the {l1}-based {industry} firm.
        {p1} will leave {co1} {by_date} after {n} years as {role}.
        Shareholders of {co1} [backed|confirmed] {p1} as {role} {on_date}.
        {co1}'s {role}, {p1}, resigned {on_date} after a row over pay.
        The {industry} business {co1} has found its new {role} at a rival: {p1} comes from {co2}.
        """),
        lines("""
        {mr1} {s1}, who joined from {co2} {in_year}, [declined to comment|will be paid {money} a \
        year].
        {he1} succeeds {p2}, who is retiring.
        {s1} grew up in {l2} and studied at {uni}.
        The firm has not made a profit since @DATE({year_num}).
        Shares in {co1s} [rose|fell] by {n} per cent after the announcement.
        "{he1} knows this business better than anybody," said {p2}, who chairs the board.
        {co1s} employs {n_big} people {where}.
        Nobody at the company was available for comment.
        The board met four times before it [agreed|reached a decision].
        """),
    ),
    "takeover": (
        lines("""
        {co1} has agreed to buy {co2} for {deal_money}.
        {co1} said {on_date} that it was in talks with {co2} about a merger.
        Talks between {co1} and {co2} broke down {on_date}.
        {co2}, one of the oldest employers in {l1}, is to be sold to {co1}.
        The {industry} group {co1} is to close its plant {where} {by_date}.
        {p1}, who founded {co1} in a garage {in_year}, has sold it for {deal_money}.
        """),
        lines("""
        The deal values {co2s} at {deal_money}.
        {p1}, {role} at {co1s}, [called|described] it [as ]a good day for customers.
        About {n_big} jobs are at risk, most of them in {l2}.
        {co1s} made a loss of {deal_money} in @DATE({year_num}).
        Regulators are expected to decide {by_date}.
        Analysts at {co3} were not surprised.
        Trade unions have asked for a meeting with the owners.
        {s1} had turned down an offer from {co3} {in_year}.
        The sale does not include the warehouses in {wider}.
        """),
    ),
    "court": (
        lines("""
        {p1} of {l1} was found guilty of {crime} {on_date}.
        A court {where} has cleared {p1}, {n_mid}, of {crime}.
        The trial of {p1}, a former {role} at {co1}, opens {soon}.
        {p1}, {n_mid}, was jailed for {n} years for {crime}.
        A [retired teacher|driver|postman|nurse] from {l1} has been charged with {crime}.
        {p1} admitted {crime} when {he1} appeared before magistrates {where}.
        """),
        lines("""
        Judge {p2} said it was one of the saddest cases of {his2} career.
        The jury heard that {s1} had taken {money} from {charity}.
        {mr1} {s1}, of {street}, denies the charge.
        The offences took place between @DATE({month} {year_num}) and @DATE({month} {year_num}).
        {p3}, defending, said {his3} client would appeal.
        The defendant was also ordered to pay {sum_money} in costs.
        Sentencing was [adjourned|put off] until @DATE({dom} {month}).
        {s1} had worked for {co1} since @DATE({year_num}).
        No date has been set for the hearing.
        """),
    ),
    "accident": (
        lines("""
        Two people were [rescued|pulled] from the river near {l1} {on_date}.
        A lorry carrying {goods} overturned on {street} in {l1} {on_date}.
        {n} people were taken to hospital after a coach crash {where}.
        A fire destroyed a warehouse belonging to {co1} {where} {on_date}.
        {p1}, a {n_mid}-year-old climber from {l2}, fell to {his1} death near {l1} {on_date}.
        The road between {l1} and {l2} was closed for {n} hours after a landslip.
        """),
        lines("""
        Nobody was [seriously hurt|injured].
        Crews from {service} were at the scene within minutes.
        {p2}, who lives on {street}, said {he2} heard a loud bang.
        "We were very lucky," said {p2} of {service}.
        The damage has been put at {money}.
        Police have asked witnesses to come forward.
        Trains between {l1} and {l2} were [delayed|cancelled] for most of the day.
        A similar accident happened there {in_year}.
        The cause is not yet known.
        """),
    ),
    "sport": (
        lines("""
        {club1} beat {club2} {score} {on_date} [to go top of the table|in front of {n_big} fans].
        {p1} scored twice as {club1} knocked {club2} out of the cup.
        {club1} have signed the {sport} international {p1} from {club2} for {money}.
        {p1} is to leave {club1} at the end of the season.
        {club1} [parted company with|sacked] their {sport} coach, {p1}, {on_date}.
        {club2} held {club1} to a draw in the rain {where}.
        """),
        lines("""
        {s1} first played for {club1} as a boy.
        "I have never felt like this before," said {s1}.
        Captain {p2} was sent off after the break.
        {club2} have not won at home since @DATE({month}).
        {s1} was born in {l2}, where {his1} father still runs a bakery.
        @DATE(Next {weekday})'s game has been moved because of the frost.
        The supporters' club has written to the owner, {p3}.
        It was the first defeat in eleven matches.
        Tickets for the return leg cost {small_money}.
        """),
    ),
    "council": (
        lines("""
        {council} has approved plans for a new {building} in {l1}.
        {council} is to cut its budget by {money} {by_date}.
        Residents of {street} have asked {council} for a pedestrian crossing.
        {council} voted {on_date} to sell the old {building} to {co1} for {money}.
        A petition to save the {building} {where} was handed to {council} {on_date}.
        The {building} {where} will stay open after all, {council} said {on_date}.
        """),
        lines("""
        Councillor {p1} called the decision [a disgrace|long overdue|a sensible compromise].
        The work, which will cost {money}, is due to start {by_date}.
        {p2}, who collected {n_big} signatures, said {he2} was [delighted|close to tears].
        Opponents fear more traffic on {street}.
        The {building} has been closed since @DATE({month} {year_num}).
        A grant from {charity} will cover part of the cost.
        Two members abstained.
        {mr1} {s1} has represented {l1} since @DATE({year_num}).
        Building work by {co1} is expected to take eighteen months.
        """),
    ),
    "research": (
        lines("""
        Scientists at {uni} have found that {finding}.
        {finding}, according to a study led by {p1} of {uni}.
        {uni} has been given {money} for a laboratory in {l1}.
        A team from {uni} and {uni2} reported {on_date} that {finding}.
        Dr {p1}, who showed that {finding}, has won the {surname} Medal.
        {co1} is to pay for a study of whether {finding}.
        """),
        lines("""
        Dr {p1} and {his1} team followed {n_big} volunteers for {n} years.
        "We did not believe it at first," said Professor {p3}.
        The results were published {on_date}.
        The work was paid for by {charity}.
        Others are not convinced: {p2} of {uni2} said the sample was too small.
        {s1} began {his1} career in {l2} {in_year}.
        Further trials are planned.
        {co1}, which makes the sensors, donated {money}.
        Earlier work in {wider} had pointed the other way.
        """),
    ),
    "strike": (
        lines("""
        Members of {union} at {co1} will walk out {soon}.
        A strike by {union} closed {co1}'s depot {where} {on_date}.
        {union} has called off a strike at {co1} after late-night talks.
        Bus drivers in {l1} will stop work for {n} hours {soon}, {union} said.
        {co1} and {union} have settled their dispute over night shifts.
        """),
        lines("""
        The union wants a rise of {n} per cent.
        {p1}, who speaks for {union}, said patience had run out.
        {co1s} has offered staff a single payment of {sum_money}.
        Passengers in {l1} and {l2} should [expect delays|allow extra time].
        The last strike at {co1s} was {in_year}.
        {mr1} {s1} and {p2} of {co1s} are to meet {soon}.
        Hospital appointments are not affected.
        "Nobody wants this," said {p2}.
        """),
    ),
    "festival": (
        lines("""
        The [book|jazz|kite|cheese] festival in {l1} will return {soon} with {concert}.
        {p1} is to open this year's summer fair {where} {soon}.
        {n_big} visitors came to {street} {on_date} for {concert}.
        {concert} and {concert} are on the programme when {l1} celebrates its market.
        Organisers have cancelled the carnival {where} because of the wind.
        """),
        lines("""
        The event is sponsored by {co1}.
        Tickets cost {small_money} and are free for children.
        {p2}, one of the organisers, promised {concert}.
        {street} will be closed to traffic from nine in the morning.
        {s1} last performed in {l1} {in_year}.
        Money raised will go to {charity}.
        Dogs are welcome if they are kept on a lead.
        {p1} of the {paper} called it the best-kept secret in {wider}.
        """),
    ),
    "charity": (
        lines("""
        {charity} has [received|been left] {money} by {p1}, a retired teacher from {l1}.
        {p1} of {l1} has [cycled|walked|run] {n_mid} miles to raise money for {charity}.
        {charity} is looking for volunteers {where}.
        {co1} has given {money} to {charity}.
        Pupils {where} have collected {sum_money} for {charity} by selling cakes.
        """),
        lines("""
        {charity} was founded {in_year} and helps {n_big} families a year.
        "{s1} never talked about money," said a neighbour, {p2}.
        {mr1} {s1}, {n_mid}, set out from {l2} {on_date}.
        The money will pay for a new {building}.
        {p2}, who runs {charity}, thanked everyone who had taken part.
        It is the largest gift in the charity's history.
        Anyone who would like to help can call in on @DATE({weekday}).
        The {paper} will match every donation up to {sum_money}.
        """),
    ),
    "obituary": (
        lines("""
        {p1}, the painter, has died in {l1} at the age of {n_mid}.
        The broadcaster {p1} died {on_date}, aged {n_mid}.
        Tributes have been paid to {p1}, for many years {role} at {co1}.
        {p1}, who won the cup with {club1} {in_year}, has died.
        Friends of {p1} gathered {where} {on_date} to remember the [singer|architect|botanist].
        """),
        lines("""
        Born in {l2} {in_year}, {he1} was the youngest of {n} children.
        {s1} taught at {uni} until @DATE({year_num}).
        {he1} worked for the {paper} and later for {co1}.
        {p2}, a lifelong friend, said {he1} had been generous to a fault.
        {he1} leaves a daughter, {p3}.
        A service will be held {where} {soon}.
        {his1} garden was open to anyone who knocked.
        {s1} once sold a picture for {money} and gave it all to {charity}.
        """),
    ),
    "recall": (
        lines("""
        {co1} is recalling {n_big} {faulty} because of {hazard}.
        {agency} has warned shoppers about {faulty} sold by {co1}.
        {co1} has stopped selling {faulty} after complaints about {hazard}.
        {co2} took {co1}'s {faulty} off its shelves {on_date}.
        A court {where} has ordered {co1} to pay {money} over {faulty}.
        """),
        lines("""
        The {faulty} were sold in {wider} between @DATE({month}) and @DATE({month}).
        Customers will get back the full price of {small_money}.
        No injuries have been reported.
        {p1} of {co1s} apologised to customers.
        {agency} was told of the problem {on_date}.
        The {faulty} were made at a plant in {l1}.
        Anyone who owns one should stop using it at once.
        {co1s}, which is part of {co2}, had a similar problem {in_year}.
        """),
    ),
    "arts": (
        lines("""
        {p1} has won the {surname} Prize for {his1} {art}.
        A {art} by {p1} is to be shown {where} {from_date}.
        The {art} that {p1} made in {l1} {in_year} has been sold for {money}.
        {p1} and {p2} are to work together on a new {art}.
        Critics have been kind to {p1}'s new {art}, set in {l1}.
        """),
        lines("""
        The {paper} called it a small miracle.
        {s1} lives in {l2} with two cats and a piano.
        {he1} began it on a train from {l1} to {l2}.
        The prize is worth {sum_money}.
        {p2}, who chaired the jury, praised its humour.
        {co1} will publish it {by_date}.
        It was turned down eleven times.
        {s1} was a student of {p3} at {uni}.
        """),
    ),
    "theft": (
        lines("""
        Thieves have stolen {goods} worth {money} from {co1} {where}.
        {goods} were taken from a house on {street} in {l1} {on_date}.
        Police {where} have found {goods} that disappeared {in_year}.
        {p1} got {his1} stolen {goods} back {on_date}, thanks to a dog.
        A break-in at {uni} cost it {n_mid} {goods}.
        """),
        lines("""
        {service} believes that the {goods} were sold in {l2}.
        {p2}, who owns the shop, has offered a reward of {sum_money}.
        A man and a woman were [arrested|questioned] {on_date}.
        Nothing else was touched.
        "I thought that I would never see them again," said {p1}.
        Inspector {p3} asked anyone who was on {street} that night to come forward.
        The same building was broken into {in_year}.
        The thieves seem to have had a key.
        """),
    ),
    # no name in these: a document of them needs "no entities" as its annotation
    "plain weather": (
        lines("""
        Heavy [rain|snow|hail] is expected in the [west|east|north], with a risk of \
        [flooding|delays] later.
        Temperatures will stay [above|below] average for the rest of the [week|month].
        The first frost of the winter has caught [gardeners|drivers|winegrowers] out.
        Strong winds brought down [trees and power lines|fences|scaffolding] during the night.
        A dry [spring|summer|winter] has left many [reservoirs|ponds|wells] half empty.
        [Snow|Sleet] fell on the higher ground yesterday for the first time this [season|year].
        The fog that closed [two airports|several roads] has lifted.
        """),
        lines("""
        Drivers are advised to leave more time for their journeys.
        The sun may come out for an hour or two in the [afternoon|morning].
        Farmers had hoped for something better.
        It should turn [milder|colder|drier] towards the weekend.
        Several schools opened late.
        Engineers worked until [dawn|midnight] to restore the supply.
        Forecasters say that the worst is [over|still to come].
        Ferries were running normally again by noon.
        [Sales of umbrellas|Sales of fans|Bookings] have doubled.
        """),
    ),
    "plain town": (
        lines("""
        The [old|iron|stone] bridge will be closed to lorries while the railings are painted.
        A [cat|parrot|tortoise] that had been missing for {n} years has turned up in a \
        [bakery|school].
        Rubbish will be collected a day later than usual because of the holiday.
        Bus fares are to go up by {n} per cent, the operator said.
        The [swimming pool|ice rink|public library] has opened its doors again after repairs to \
        the roof.
        More people than ever are growing their own [vegetables|herbs|strawberries], a survey \
        suggests.
        A [bench|bicycle|piano] has been left in the market square, and nobody knows by whom.
        """),
        lines("""
        The work is expected to last for about {n} weeks.
        Neighbours were asked for their opinion in a letter.
        A [spokeswoman|spokesman] apologised for any inconvenience.
        Most of those who were asked said that they did not mind.
        The old [tiles|signs|lamps] will be sold to raise money.
        There had been complaints about the [noise|smell|cost].
        Opening hours will stay the same.
        Nobody could remember anything like it.
        [Children|Pensioners] were the first to notice.
        """),
    ),
    "plain health": (
        lines("""
        Parents are being reminded to have their children vaccinated before the holidays.
        Waiting times for [hip|knee|eye] operations have fallen [slightly|by a third].
        Doctors recommend [an hour|two hours] without screens before bedtime.
        A new clinic for [sleep problems|back pain] has treated its thousandth patient.
        Pharmacies are running short of a common [hay fever|asthma] drug.
        More than {n_mid} per cent of adults walk too little, doctors warn.
        """),
        lines("""
        The advice applies to adults as well.
        Nurses will be on duty until [eight|nine] in the evening.
        The figures are the best for a decade.
        Appointments can be made by telephone.
        Those with a cough should stay at home.
        Stocks should be back to normal within a [fortnight|month].
        Much depends on the weather, as ever.
        [Critics|Patients] say that more could be done.
        """),
    ),
}

# -------------------------------------------------------------------------------------------- mails
# Tokens are split by spaces and tagged `word/XPOS` or, where the universal tag does not follow from
# XPOS, `word/XPOS/UPOS`. Words of CLOSED need no tag unless they mean something else.

CLOSED = {
    "DT": words("the, a, an, this, these, those, some, any, every, no, another"),
    "PRP": words("I, you, he, she, it, we, they, me, him, us, them, myself, yourself, anyone"),
    "PRP$": words("my, your, his, our, their, its"),
    "CC": words("and, or, but"),
    "IN": words("of, for, from, with, at, in, on, by, into, about, without, during, near, between"),
    "IN/SCONJ": words("if, because, whether, while, although"),
    "MD": words("can, could, will, would, should, may, might, must, 'll"),
    "VBZ/AUX": words("is"),
    "VBP/AUX": words("am, are, 'm, 're, 've"),
    "VBD/AUX": words("was, were"),
    "VB/AUX": words("be"),
    "VBN/AUX": words("been"),
    "RB": words("very, too, also, just, now, then, again, only, never, always, soon, maybe, here"),
    "RB/PART": words("not, n't"),
    "TO/PART": words("to"),
    "WRB": words("how, why, where"),
    "WP": words("who, what"),
    "UH": words("please, hi, hello, hey, yes"),
    ".": (".", "?", "!"),
    ",": (",",),
    ":": (":", ";", "..."),
    "-LRB-": ("(",),
    "-RRB-": (")",),
    "HYPH": ("-",),
    "$": ("£", "$", "€"),
}

MAILS = {
    "greeting": lines("""
        Hi {you} ,
        Dear/JJ {you} ,
        Hello {you} ,
        Hey {you} !
        Dear/JJ all/DT ,
        {you} ,
        Hi there/RB ,
        Good/JJ morning/NN {you} ,
        Dear/JJ Dr/NNP {surname} ,
        """),
    "opening": lines("""
        Thanks/NN for your [message|email|reply|note]/NN .
        I hope/VBP you are well/JJ .
        Sorry/JJ for the late/JJ reply/NN .
        It was [good|nice|lovely]/JJ to see/VB you [on {day}|last/JJ week/NN|yesterday/NN] .
        Just a quick/JJ [note|question|reminder]/NN .
        Thank/VBP you very much/RB for your [help|patience|advice]/NN .
        As/IN/SCONJ I said/VBD on the phone/NN , {topic_clause} .
        I am writing/VBG because {topic_clause} .
        How are/VBP you ?
        I tried/VBD to call/VB you this morning/NN , but you were out/RB .
        """),
    "topic_clause": lines("""
        I need/VBP your [help|advice|opinion]/NN
        there/EX has/VBZ/AUX been a change/NN
        we have/VBP very little/JJ time/NN
        I have/VBP two/CD questions/NNS
        things/NNS have/VBP/AUX changed/VBN
        """),
    "closing": lines("""
        Please let/VB me know/VB if you have/VBP any questions/NNS .
        Let/VB me know/VB what you think/VBP .
        I look/VBP forward/RB to/IN hearing/VBG from you .
        See/VBP you [on {day}|soon|then|tomorrow/NN] !
        Thanks/NN again !
        Many/JJ thanks/NNS in advance/NN .
        Call/VB me if anything/NN/PRON is unclear/JJ .
        Have/VB a [good|nice|great]/JJ [weekend|evening|week]/NN .
        Do/VB/AUX n't hesitate/VB to call/VB .
        Talk/VBP to/IN you soon .
        That/DT/PRON 's/VBZ/AUX all/DT for now .
        Hope/VBP that/DT/PRON helps/VBZ .
        """),
    "sign": lines("""
        Best/JJS regards/NNS , {me}
        {me}
        Thanks/NN , {me}
        Kind/JJ regards/NNS , {me} {my_surname}
        Cheers/NNS , {me}
        All/DT the best/JJS , {me}
        Yours/PRP sincerely/RB , {me} {my_surname}
        Best/JJS , {me}
        Love/NN , {me}
        """),
    # small parts
    "time": lines("""
        {hour}:30/CD
        {hour}/CD pm/NN
        {hour}:15/CD
        {hour}/CD
        {hour}:45/CD
        """),
    "when": lines("""
        on {day}
        on {day} [morning|afternoon|evening]/NN
        at {time}
        on {day} at {time}
        tomorrow/NN
        next/JJ week/NN
        this afternoon/NN
        in {month}
        on {dom}/CD {month}
        next/JJ {day}
        """),
    "by_when": lines("""
        by {day}
        by the end/NN of the week/NN
        by tomorrow/NN evening/NN
        before/IN {day}
        as/RB soon as/IN/SCONJ possible/JJ
        this week/NN
        by {time}
        """),
    "ago": lines("""
        yesterday/NN
        last/JJ week/NN
        on {day}
        two/CD days/NNS ago/RB
        this morning/NN
        last/JJ {day}
        """),
    "fee": lines("""
        £ {n_mid}/CD
        $ {n_mid}/CD
        {n_mid}/CD euros/NNS
        {n_mid}/CD pounds/NNS
        """),
    "the_doc": lines("""
        the {doc}
        the {adj} {doc}
        your {doc}
        the {doc} for {company}
        your {adj} {doc}
        """),
    "who": lines("""
        {first}
        the {team}
        {first} and {other}
        my {family}
        {first} from the {team}
        Dr/NNP {surname}
        everyone/NN/PRON
        """),
}

TOPICS = {
    "document": lines("""
        Could you please {send.VB} me {the_doc} {by_when} ?
        I have/VBP/AUX {edit.VBN} {the_doc} and will {send.VB} it to/IN {who} {when} .
        the {adj} {doc} that/WDT/PRON you [sent|forwarded|emailed|mentioned]/VBD {ago} is not the \
        {adj} one/NN .
        Please {edit.VB} the attached/JJ {doc} before/IN/SCONJ you \
        [send|forward|print|return]/VBP it .
        {first} {edit.VBD} the {doc} {ago} and found/VBD a few/JJ [mistakes|gaps]/NNS .
        The {doc} has/VBZ/AUX not been {edit.VBN} yet/RB .
        I think/VBP that/IN/SCONJ the {adj} {docs} are {adv} more/RBR {quality_long} .
        There/EX are/VBP two/CD {docs} that/WDT/PRON nobody/NN/PRON has/VBZ/AUX {edit.VBN} .
        {edit.VBG} the {doc} took/VBD longer/RBR than/IN/SCONJ I expected/VBD .
        Did/VBD/AUX you {edit.VB} {the_doc} that/WDT/PRON I [sent|forwarded|left|returned]/VBD ?
        I can not open/VB the {doc} ; could you [send|email|copy]/VB it again ?
        She is still/RB {edit.VBG} her/PRP$ {doc} .
        My comments/NNS on the {doc} are in the margin/NN .
        We should not [send|show|forward]/VB the {doc} to/IN {company} without a second/JJ look/NN .
        The {doc} looks/VBZ good/JJ , but the {docs} are out/IN of date/NN .
        """),
    "meeting": lines("""
        Are/VBP you free/JJ for a {quality_short} {meeting} {when} ?
        The {meeting} with {who} has/VBZ/AUX been {arrange.VBN} .
        We [cancelled|moved|postponed|left]/VBD the {meeting} {ago} because {first} was ill/JJ .
        Can we [move|change|postpone|shift]/VB the {meeting} to/IN {day} ?
        I would like/VB to [arrange|plan|have|propose]/VB a {meeting} with {who} {when} .
        The {meeting} is in the {room} , not in the {room} .
        {first} ca/MD n't [come/VB to/IN|make/VB|attend/VB|lead/VB] the {meeting} {when} .
        Please [book|reserve|find]/VB a room/NN for {n}/CD people/NNS .
        I am {adv} {feeling} that/IN/SCONJ the {meeting} was {arrange.VBN} .
        The {meeting} starts/VBZ at {time} and should not last/VB long/RB .
        Who is [coming/VBG|going/VBG|invited/VBN] to/IN the {meeting} besides/IN {first} ?
        It was a {quality} {meeting} , was n't it ?
        Let/VB 's/PRP meet/VB in the {room} at {time} .
        Could {other} present/VB the {docs} at the next/JJ {meeting} ?
        I will be [coming|driving|cycling]/VBG straight/RB from another {meeting} , so/RB I may \
        be late/JJ .
        """),
    "money": lines("""
        Could you [pay|settle|approve|check]/VB the invoice/NN for {subject} {by_when} ?
        We [paid|settled]/VBD the bill/NN {ago} , but {company} says/VBZ it never arrived/VBD .
        The invoice/NN has/VBZ/AUX not been {pay.VBN} .
        {subject} will cost/VB about/RB {fee} .
        {first} wants/VBZ to [pay|claim]/VB {fee} for the {purchase} .
        The cost/NN of {subject} has/VBZ/AUX gone/VBN up/RP again .
        I will {pay.VB} it as/RB soon as/IN/SCONJ {first} has/VBZ/AUX {edit.VBN} the {doc} .
        Who [paid|signed]/VBD for {subject} last/JJ year/NN ?
        Your last/JJ payment/NN was {fee} short/JJ .
        I do/VBP/AUX not understand/VB the second/JJ item/NN on your bill/NN .
        Please find/VB the receipt/NN for {fee} attached/VBN .
        The bank/NN is {pay.VBG} the difference/NN ( about/RB {fee} ) .
        """),
    "device": lines("""
        The {device} in the {room} does/VBZ/AUX not work/VB .
        Could somebody/NN/PRON {fix.VB} the {device} {by_when} ?
        The {device} was {fix.VBN} {ago} , but it has/VBZ/AUX stopped/VBN again .
        {first} is {fix.VBG} the {device} {when} .
        I turned/VBD it off/RP and on/RP again , as/IN/SCONJ you said/VBD .
        The screen/NN goes/VBZ dark/JJ when/WRB I open/VBP the {doc} .
        The {device} makes/VBZ a [strange|loud|funny|horrible|odd]/JJ noise/NN when/WRB it is \
        cold/JJ .
        Is the {device} back/RB from repair/NN ?
        We need/VBP a new/JJ {device} , and [probably|ideally]/RB a new/JJ [charger|cable|plug]/NN too .
        {fix.VBG} the {device} would cost/VB more/JJR than/IN a new/JJ one/NN .
        The password/NN for the {device} is on the back/NN of the door/NN .
        {who} {fix.VBD} the {device} in the {room} {ago} .
        If it fails/VBZ again , I will {fix.VB} it myself .
        """),
    "order": lines("""
        My {purchase} has/VBZ/AUX not arrived/VBN yet/RB .
        I ordered/VBD a {purchase} from {company} {ago} .
        The {purchase} that/WDT/PRON [came|arrived]/VBD {ago} was broken/JJ .
        I would like/VB to [send|give|bring]/VB the {purchase} back/RB .
        Your order/NN number/NN is {n_big}/CD .
        You can order/VB the {purchase} online/RB for {fee} .
        The [new|first|second|other]/JJ {purchase} was much/RB too small/JJ for the {room} .
        Could you tell/VB me when/WRB the {purchase} will [come|arrive|leave]/VB ?
        The box/NN was [open|wet|empty]/JJ when/WRB it [came|arrived]/VBD .
        {company} has/VBZ/AUX offered/VBN me a refund/NN of {fee} .
        I [sent|emailed|showed]/VBD them the {docs} , but they have/VBP/AUX n't answered/VBN .
        We left/VBD the {purchase} with your neighbour/NN .
        """),
    "travel": lines("""
        My train/NN [leaves|arrives|departs]/VBZ at {time} [on {day}|tomorrow/NN] .
        I will [book|order|change|print|collect]/VB the tickets/NNS {by_when} .
        {first} [came|drove|flew|got]/VBD back/RB from {town} {ago} .
        We are [coming|driving|travelling|moving]/VBG to/IN {town} {when} .
        The flight/NN to/IN {town} was [booked|cancelled|changed|delayed]/VBN {ago} .
        Could you pick/VB me up/RP at the station/NN at {time} ?
        Is there/EX a hotel/NN near the office/NN that/WDT/PRON is not too \
        [expensive|noisy|old|far]/JJ ?
        The [quick|cheap|easy|pretty]/JJ way/NN to/IN {town} is by train/NN .
        I left/VBD my {purchase} on the bus/NN , of course/NN .
        He [comes|drives|travels]/VBZ from {town} , which/WDT is {n}/CD hours/NNS away/RB .
        We have/VBP/AUX [cancelled|changed|postponed|moved]/VBN our trip/NN because of the \
        strike/NN .
        The drive/NN from {town} to/IN {town} took/VBD {n}/CD hours/NNS .
        Having/VBG missed/VBN the last/JJ train/NN , I spent/VBD the night/NN in {town} .
        """),
    "family": lines("""
        My {family} [likes|misses|loves|knows]/VBZ {town} more/RBR than/IN/SCONJ I do/VBP/AUX .
        Your {family} [mentioned|said|wrote]/VBD that/IN/SCONJ you want/VBP to \
        [come|leave|move|travel]/VB {when} .
        We [enjoyed|loved|liked|finished]/VBD the {food} that/WDT/PRON your {family} made/VBD .
        Do/VBP/AUX you still/RB [like|miss|enjoy|remember]/VB living/VBG in {town} ?
        The children/NNS {adv} [liked|enjoyed|loved|hated]/VBD the {food} .
        Give/VB my love/NN to/IN your {family} .
        Her/PRP$ {family} asked/VBD her/PRP whether/IN/SCONJ she [enjoyed|liked]/VBD the visit/NN .
        {first} is {feeling} that/IN/SCONJ you [enjoyed|liked]/VBD the visit/NN .
        I [miss|like|love|remember]/VBP our walks/NNS by the river/NN .
        My {family} walks/VBZ [quickly|slowly|cheerfully|straight]/RB to/IN work/VB every day/NN .
        They have/VBP/AUX n't seen/VBN each/DT other/JJ since/IN {month} .
        Can your {family} bring/VB some {food} {when} ?
        It is {first} 's/POS birthday/NN [on {day}|tomorrow/NN] , so/RB we need/VBP a present/NN .
        """),
    "work": lines("""
        {who} {think.VBD} that/IN/SCONJ the {doc} was {adv} {quality} .
        I {think.VBP} that/IN/SCONJ we have/VBP [big|new|other|good]/JJ plans/NNS .
        {first} {think.VBZ} so/RB , and so/RB do/VBP/AUX we .
        We have/VBP to plan/VB {subject} [more/RBR {manner}|{manner}] .
        The {team} has/VBZ/AUX {adv} [cut|approved|planned|doubled]/VBN the {subject} budget/NN .
        There/EX is/VBZ a lot/NN of work/NN , but it is {quality} .
        {other} works/VBZ {manner} , as/IN/SCONJ you know/VBP .
        The results/NNS of the test/NN are [good|clear|strange|interesting]/JJ .
        How does/VBZ/AUX the {team} feel/VB about {subject} ?
        I have/VBP/AUX always {think.VBN} that/IN/SCONJ {first} would make/VB a good/JJ manager/NN .
        Nobody/NN/PRON asked/VBD us what we think/VBP .
        Those who work/VBP on {day} can take/VB {day} off/RP .
        We are {adv} too [busy|tired|polite|happy]/JJ to complain/VB .
        {who} thought/VBD about it {manner} and said/VBD no/UH .
        """),
    "home": lines("""
        The {room} needs/VBZ a new/JJ coat/NN of paint/NN .
        Could you water/VB the plants/NNS in the {room} while I am away/RB ?
        The water/NN in the {room} was cold/JJ again this morning/NN .
        We want/VBP to paint/VB the {room} {when} .
        The key/NN to/IN the {room} is under/IN the mat/NN .
        Your {purchase} is still/RB in our {room} .
        The landlord/NN {fix.VBD} the {device} {ago} , and {manner} .
        Please close/VB the window/NN in the {room} when/WRB you [leave|come|go]/VBP .
        We live/VBP close/RB to/IN the station/NN , two/CD minutes/NNS from the park/NN .
        The rent/NN is {fee} a week/NN , heating/NN included/VBN .
        There/EX was/VBD water/NN all/RB over/IN the {room} , so/RB I called/VBD a plumber/NN .
        The neighbours/NNS park/VBP in front/NN of the door/NN every {day} .
        """),
    "party": lines("""
        We are having/VBG a [small|big|little|quiet]/JJ party/NN {when} .
        Could you bring/VB {food} and some {food} ?
        There/EX will be {food} , {food} and {quality_good} music/NN .
        {first} will play/VB the piano/NN if we ask/VBP [nicely|politely|kindly]/RB .
        The play/NN was {quality} , but the {food} was not .
        Bring/VB whoever/WP you like/VBP .
        Last/JJ time/NN {first} brought/VBD {food} and {other} brought/VBD nothing/NN/PRON .
        Please tell/VB {other} that/IN/SCONJ the party/NN starts/VBZ at {time} .
        We need/VBP somebody/NN/PRON to help/VB with the {food} .
        Thanks/NN for the {food} , which/WDT we [enjoyed|liked]/VBD very much/RB .
        I cook/VBP , you wash/VBP up/RP .
        The cook/NN has/VBZ/AUX left/VBN , so/RB {first} made/VBD the {food} .
        """),
    "course": lines("""
        The course/NN on {subject} has/VBZ/AUX been [cancelled|moved|confirmed|extended]/VBN .
        {n_mid}/CD people/NNS have/VBP/AUX signed/VBN up/RP so/RB far/RB .
        I would like/VB to take/VB part/NN in the {meeting} {when} .
        What do/VBP/AUX I need/VB to bring/VB to/IN the {meeting} ?
        The fee/NN of {fee} covers/VBZ {subject} and {food} .
        You should have/VB/AUX {edit.VBN} the {docs} before/IN the course/NN .
        Our teacher/NN is from {town} and speaks/VBZ [slowly|clearly|quietly|fast]/RB .
        The test/NN was more/RBR {quality_long} than/IN the last/JJ one/NN .
        Please write/VB to/IN {address} if you want/VBP a place/NN .
        I passed/VBD , and so/RB did/VBD/AUX {first} .
        They place/VBP {quality_good} books/NNS in the {room} for us .
        She taught/VBD herself/PRP to {fix.VB} a {device} .
        """),
    "job": lines("""
        I am applying/VBG for the post/NN in your {team} .
        My [CV|letter|application|certificate]/NN and two/CD {docs} are attached/VBN .
        I have/VBP/AUX worked/VBN for {company} for {n}/CD years/NNS .
        We are {feeling} to offer/VB you the post/NN .
        Your experience/NN with {subject} is what we think/VBP we need/VBP .
        The {meeting} will be {arrange.VBN} {by_when} .
        Could you [send|give|email]/VB us the names/NNS of two/CD people/NNS who know/VBP your \
        work/NN ?
        I [moved|came|returned]/VBD to/IN {town} after/IN leaving/VBG {company} .
        The other/JJ post/NN was filled/VBN {ago} , I am [sorry|sad|afraid]/JJ to say/VB .
        {who} will show/VB you the {room} on your first/JJ day/NN .
        The pay/NN is {fee} a day/NN , {food} included/VBN .
        My notice/NN runs/VBZ until/IN {month} .
        """),
}

ASIDES = lines("""
Sorry/JJ about the confusion/NN .
I know/VBP this/DT/PRON is short/JJ notice/NN .
That/DT/PRON would be {quality_good} .
No/UH , that/DT/PRON is not a problem/NN .
By the way/NN , {first} says/VBZ hello/UH .
I am {feeling} about that/DT/PRON .
{adv} , that/DT/PRON is up/IN to/IN {first} .
You were right/JJ about {first} .
I will be out/RB of the office/NN {when} .
It 's/VBZ/AUX {quality} , I know/VBP .
You can reach/VB me at {address} .
What do/VBP/AUX you think/VB ?
Either/DT way/NN is fine/JJ with me .
More/JJR on that/DT/PRON {when} .
Is that/DT/PRON all/RB right/RB with you ?
I did/VBD/AUX n't [think|expect|believe]/VB it would be so/RB {quality} .
""")
