package term

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// takesColour asks the console to obey escape sequences, which those of Windows
// before 10 do not.
func takesColour(out io.Writer) bool {
	handle := windows.Handle(out.(*os.File).Fd())
	var mode uint32
	if windows.GetConsoleMode(handle, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
