"""The analysis of dataflows of Chen et al., ISCA 2016, by that paper's conventions of counting."""
