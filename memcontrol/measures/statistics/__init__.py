"""Statistics whose unit is the patient: intervals, p-values, multiplicity, fronts."""
