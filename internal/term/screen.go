package term

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// ErrNoTerminal says that an output is none, or one that cannot move its cursor.
var ErrNoTerminal = errors.New("not a terminal")

// Screen shows one picture after another on a terminal, and gives the terminal
// back as it was. It is for one goroutine.
type Screen struct {
	in, out *os.File
	state   *term.State // of in; nil if that is no terminal
	keys    chan byte
	resized chan os.Signal
}

// Control sequences of xterm and its kin: another screen, so that what was there
// comes back, and no cursor.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// OpenScreen takes a terminal over. Keys are read one by one and not shown, if
// input is a terminal too: Ctrl-C is then a key, for which Keys gives 3.
func OpenScreen(input, output any, getenv func(string) string) (*Screen, error) {
	out, ok := output.(*os.File)
	if !ok || !IsTerminal(out) || getenv("TERM") == "dumb" || !takesColour(out) {
		return nil, ErrNoTerminal
	}
	s := &Screen{out: out, keys: make(chan byte), resized: make(chan os.Signal, 1)}
	if in, ok := input.(*os.File); ok && IsTerminal(in) {
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("set the terminal up: %w", err)
		}
		s.in, s.state = in, state
		go s.read()
	}
	notifyResize(s.resized)
	if _, err := out.WriteString(enterScreen); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// read hands on what is typed. It ends with the process, as a read does not end
// otherwise.
func (s *Screen) read() {
	var buf [64]byte
	for {
		n, err := s.in.Read(buf[:])
		for _, b := range buf[:n] {
			s.keys <- b
		}
		if err != nil {
			return
		}
	}
}

// Keys gives what is typed.
func (s *Screen) Keys() <-chan byte { return s.keys }

// Resized says that Size has changed.
func (s *Screen) Resized() <-chan os.Signal { return s.resized }

// Size gives the columns and rows.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return DefaultWidth, 24
	}
	return width, height
}

// Draw shows lines, as many and as much of each as there is room for. All of them
// are written at once, so that nothing flickers.
func (s *Screen) Draw(lines []string) error {
	width, height := s.Size()
	var b strings.Builder
	b.WriteString(home)
	for i, l := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(Clip(l, width) + clearLine)
	}
	if len(lines) < height {
		b.WriteString("\r\n" + clearRest)
	}
	_, err := s.out.WriteString(b.String())
	return err
}

// Close gives the terminal back.
func (s *Screen) Close() error {
	stopResize(s.resized)
	_, err := s.out.WriteString(leaveScreen)
	if s.state != nil {
		err = errors.Join(err, term.Restore(int(s.in.Fd()), s.state))
	}
	return err
}

// Clip cuts a line that may have colours to a number of columns, all of its
// characters being one column wide.
func Clip(line string, columns int) string {
	n, cut := 0, false
	var b strings.Builder
	for i := 0; i < len(line); {
		if strings.HasPrefix(line[i:], "\x1b[") {
			// What colours is kept, so that it is ended too.
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				break
			}
			b.WriteString(line[i : i+end+1])
			i += end + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if cut = cut || n == columns; !cut {
			b.WriteString(line[i : i+size])
			n++
		}
		i += size
	}
	return b.String()
}
