"""How to read each figure of a report."""

GUIDES = {
    "gap.png": (
        "Gap to the reference",
        "Left: how much worse the network's log density is than the reference's, on the same values. 0 is a perfect "
        "network, unless the reference is an oracle that knows each task's latents. Right: both log densities.",
    ),
    "posterior.png": (
        "Drawn tasks",
        "What the network says of a few tasks, over the truth and, where there is one, the reference posterior.",
    ),
    "pit.png": (
        "Probability integral transform",
        "How often the network's cdf at the truth is at most u, less u. Of a calibrated network the whole curve stays "
        "inside the band in 95 of 100 evaluations. Like ∿, first above and then below 0: the network is too sure. "
        "First below and then above: not sure enough. Above 0 throughout: it predicts too high; below: too low.",
    ),
    "coverage.png": (
        "Coverage",
        "How often regions of the network's distribution hold the truth, less how often they should. Below 0: too "
        "sure. Central intervals look at each number by itself, densest regions at all numbers of a value jointly; "
        "p-values in this order.",
    ),
    "tarp.png": (
        "TARP",
        "Coverage of balls around points that move with the data, which sees joint errors and posteriors that ignore "
        "what was observed. Inside the band: no evidence against the network.",
    ),
    "recovery.png": (
        "Recovery",
        "The network's mean over the truth. On the diagonal the data tell everything, on a horizontal line nothing. "
        "It says nothing of calibration. The axes hold the central 99 % of truths; what is farther out is counted.",
    ),
    "contraction.png": (
        "Contraction and z-score",
        "Right: the data narrowed the prior much. Up and down: the error of the mean in the network's own standard "
        "deviations; about 95 of 100 points should lie between the dashed lines. Variances of the prior are those of "
        "the truths. Posteriors of several modes may stray.",
    ),
    "reliability.png": (
        "Reliability",
        "How often the most probable class is right, over its probability. On the diagonal: as often as the network "
        "says. Below: too sure. The null value of the error is that of a calibrated network of as few values.",
    ),
    "shifts.png": (
        "Shifts of the prior",
        "Tasks from the prior with one thing changed. Points: the network's gap to the shifted prior's reference, or "
        "its coverage where there is none; the line: the same without a shift. Diamonds: the gap of the prior's own "
        "posterior, which does not know of the shift either: that of a perfect network.",
    ),
}
