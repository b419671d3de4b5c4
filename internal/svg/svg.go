// Package svg is what the images that tirl draws have in common: each is one file that
// needs nothing else, follows the reader's choice of light or dark, and tells those
// who cannot see it what it shows.
package svg

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Image is an image that is being written.
type Image struct{ bytes.Buffer }

// No variables and no nested rules: not every viewer knows them.
const (
	light = `
.bg { fill: #ffffff }
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2933 }
.title { font-size: 16px; font-weight: 600 }
.soft { fill: #52606d }
.mid { text-anchor: middle }
`
	dark = `.bg { fill: #14181d }
text { fill: #e4e9ee }
.soft { fill: #a5b1bd }
`
)

// Style is a style sheet: rules for everybody, and for those who choose dark.
type Style struct{ Light, Dark string }

// New begins an image: its size, a title and a description, and the background.
func New(width, height int, title, description string, s Style) *Image {
	im := new(Image)
	im.F(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="tirl-title tirl-desc">`,
		width, height, width, height)
	im.F(`<title id="tirl-title">%s</title>`, Escape(title))
	im.F(`<desc id="tirl-desc">%s</desc>`, Escape(description))
	im.F("<style>%s%s@media (prefers-color-scheme: dark) {\n%s%s}\n</style>", light, s.Light, dark, s.Dark)
	im.F(`<rect class="bg" width="100%%" height="100%%"/>`)
	return im
}

// F writes a line.
func (im *Image) F(format string, args ...any) { fmt.Fprintf(im, format+"\n", args...) }

// End ends the image and gives it.
func (im *Image) End() []byte {
	im.F("</svg>")
	return im.Bytes()
}

// Escape makes a string fit for the text of an element (XML 1.0, section 2.4).
func Escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err) // a buffer takes every write
	}
	return b.String()
}
