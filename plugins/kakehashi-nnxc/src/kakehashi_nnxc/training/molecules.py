"""Which molecules of ASE's G2 set train, validate and test ``nn-mgga``; decided before the first fit."""

from __future__ import annotations

ATOMS = ("H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Al", "Si", "P", "S", "Cl")

DEMO_HELD_OUT = ("CO", "N2", "HCN", "C2H2", "C2H4", "H2CO", "CH3OH", "HF")
"""Shown by ``kakehashi demo``; in neither the training nor the validation set."""

VALIDATION = (
    "NH2",
    "CH3NO2",
    "N2H4",
    "OCHCHO",
    "CH3CN",
    "C2H6",
    "H2CCO",
    "CO2",
    "SO2",
    "HOCl",
    "CH3SH",
    "C3H4_C3v",
    "NO2",
    "SiH3",
    "PF3",
    "C3H6_D3h",
)
"""Choose the strength of the regularization."""

# fmt: off
TRAINING = (
    "AlCl3", "AlF3", "BCl3", "BF3", "BeH", "C2H3", "C2H5", "C3H4_C2v", "C3H4_D2d", "C3H6_Cs",
    "C3H8", "CCH", "CCl4", "CF4", "CH", "CH2NHCH2", "CH2OCH2", "CH2SCH2", "CH2_s1A1d",
    "CH2_s3B1d", "CH3", "CH3CH2Cl", "CH3CH2O", "CH3CH2OH", "CH3CHO", "CH3CO", "CH3Cl", "CH3O",
    "CH3OCH3", "CH3ONO", "CH3S", "CH3SiH3", "CH4", "CN", "CS", "CS2", "Cl2", "ClF", "ClF3",
    "ClNO", "ClO", "F2", "F2O", "H2", "H2CCHCN", "H2CCHCl", "H2CCHF", "H2CCl2", "H2CF2",
    "H2COH", "H2O", "H2O2", "H3CNH2", "HCCl3", "HCF3", "HCO", "HCOOH", "HCl", "Li2", "LiF",
    "LiH", "N2O", "NCCN", "NF3", "NH", "NH3", "NO", "Na2", "NaCl", "O2", "O3", "OCS", "OH",
    "P2", "PH2", "PH3", "S2", "SH", "SH2", "SO", "Si2", "SiF4", "SiH2_s1A1d", "SiH2_s3B1d",
    "SiH4", "SiO",
)
# fmt: on
"""G2 molecules whose experimental atomization energy is fitted. The larger ones of G2-2 are left out for
speed, and COF2 because its experimental value was withdrawn."""
