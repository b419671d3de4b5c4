package handout

import (
	"bufio"
	"fmt"
	"image/color"
	"io"

	"github.com/boombuler/barcode/qr"
)

// quiet is the width of the light border that a reader needs, in modules
// (ISO/IEC 18004, section 6.3.8).
const quiet = 4

// WriteQR writes the entry as a QR code of half blocks, two modules of a column
// to a character. In colour it is black on white whatever the terminal's
// colours are; without, light is what the terminal writes with, as is right
// on a dark background.
func (h *Handout) WriteQR(w io.Writer, colour bool) error {
	code, err := qr.Encode(h.Entry(), qr.L, qr.Unicode)
	if err != nil {
		return fmt.Errorf("make a QR code of the entry: %w", err)
	}
	size := code.Bounds().Dx()
	isDark := func(x, y int) bool {
		if x < 0 || y < 0 || x >= size || y >= size {
			return false
		}
		return color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y < 0x80
	}
	const begin, end = "\x1b[38;5;16;48;5;231m", "\x1b[0m" // black on white of the 256 colours, which themes leave alone
	out := bufio.NewWriter(w)
	for y := -quiet; y < size+quiet; y += 2 {
		if colour {
			out.WriteString(begin)
		}
		for x := -quiet; x < size+quiet; x++ {
			// What is painted: dark modules, or without colour the light ones.
			upper, lower := isDark(x, y) == colour, isDark(x, y+1) == colour
			switch {
			case upper && lower:
				out.WriteRune('█')
			case upper:
				out.WriteRune('▀')
			case lower:
				out.WriteRune('▄')
			default:
				out.WriteByte(' ')
			}
		}
		if colour {
			out.WriteString(end)
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}
