package cli

import (
	"testing"

	"tirl/internal/lab/labtest"
)

// privileged runs the tests where network namespaces can be made.
type privileged struct{ *testing.M }

func (p privileged) Run() int { return labtest.Main(p.M) }
