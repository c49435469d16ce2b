//! Graph recommenders: GCN, NGCF, LightGCN. Nothing is here yet.
