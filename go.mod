module tirl

go 1.26
