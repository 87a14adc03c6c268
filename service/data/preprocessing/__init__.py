"""What happens to the inputs before the network sees them: fitted on the training rows, kept inside the model.

rules.py says what a spec asks of a column, fitting.py fits it, steps.py is what there is to do, applying.py does it,
fitted.py and storing.py are what a model keeps, and inverse.py undoes what was done to a target.
"""

from service.data.preprocessing.applying import ROWS_AT_ONCE, Tally, apply
from service.data.preprocessing.fitted import Fitted, FittedColumn
from service.data.preprocessing.fitting import fit, fit_numbers
from service.data.preprocessing.rules import rules_of

__all__ = ["ROWS_AT_ONCE", "Fitted", "FittedColumn", "Tally", "apply", "fit", "fit_numbers", "rules_of"]
