drop table turn_pieces;
