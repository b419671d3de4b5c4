package lab_test

import (
	"os"
	"testing"

	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
