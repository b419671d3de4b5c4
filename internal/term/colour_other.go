//go:build !windows

package term

import "io"

func takesColour(io.Writer) bool { return true }
