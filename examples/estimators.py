"""A classifier in scikit-learn's hands: five examples of each digit, then a digit that comes later."""

import os

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from quickstudy import FewShotClassifier

REPEATS = int(os.environ.get("QUICKSTUDY_EXAMPLE_STEPS", "20"))

x, y = load_digits(return_X_y=True)
names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]

# Five of each digit to learn from, twenty of each to name, drawn anew each time.
draws = StratifiedShuffleSplit(n_splits=REPEATS, train_size=50, test_size=200, random_state=0)
# Pixels are on one scale already.
rivals = {
    "class means": FewShotClassifier("protonet", standardise=False),
    "ridge regression": FewShotClassifier(standardise=False),
    "logistic regression": LogisticRegression(max_iter=1000),
}
for rival, estimator in rivals.items():
    scores = cross_val_score(estimator, x / 16, names, cv=draws)
    print(f"{rival:20} {scores.mean():.1%} of digits right, from five examples of each")

# A digit that it has never seen, and then five examples of it.
learn, ask = next(draws.split(x, y))
early = learn[y[learn] != 9]
nines = ask[y[ask] == 9]
digits = FewShotClassifier("protonet", standardise=False).fit(x[early], names[early])
print(f"nines called nine before any was shown: {np.mean(digits.predict(x[nines]) == 'nine'):.0%}")
digits.partial_fit(x[learn[y[learn] == 9]], names[learn[y[learn] == 9]])
print(f"nines called nine after five were shown: {np.mean(digits.predict(x[nines]) == 'nine'):.0%}")
