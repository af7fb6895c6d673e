"""Balancers that look at the losses only: no gradient is measured for them."""

from typing import ClassVar

import numpy as np

from .base import EPSILON, Balancer, Floats, Signal, TaskSignals, average, checked_integer, checked_number, ratio
