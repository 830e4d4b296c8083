stays
