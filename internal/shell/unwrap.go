package shell

import "strings"

// Unwrap takes off what only runs another command: sudo, doas, env, nice, nohup,
// exec, command, and assignments in front. Of sh -c it gives the commands inside.
// Whatever it does not know it leaves.
func Unwrap(c Command) ([]Command, error) {
	for {
		words := c.Words
		for len(words) > 1 && isAssignment(words[0]) {
			words = words[1:]
		}
		c.Words = words
		name := c.Name()
		if name == "sh" || name == "bash" || name == "dash" {
			return inside(c)
		}
		flags, isWrapper := wrapper(name)
		if !isWrapper {
			return []Command{c}, nil
		}
		rest := skipFlags(words[1:], flags)
		if len(rest) == 0 {
			return []Command{c}, nil
		}
		c.Words = rest
	}
}

// wrapper gives the letters of the flags that take a value.
func wrapper(name string) (flags string, ok bool) {
	switch name {
	case "sudo":
		return "CDghpRrTtUu", true
	case "doas":
		return "Cu", true
	case "env":
		return "uSC", true
	case "nice":
		return "n", true
	case "nohup", "exec", "command", "busybox":
		return "", true
	}
	return "", false
}

func skipFlags(words []Word, withValue string) []Word {
	for len(words) > 0 && strings.HasPrefix(words[0].Text, "-") {
		flag := words[0].Text
		words = words[1:]
		if flag == "--" {
			break
		}
		if len(flag) == 2 && strings.Contains(withValue, flag[1:]) && len(words) > 0 {
			words = words[1:]
		}
	}
	return words
}

func isAssignment(w Word) bool {
	_, ok := w.Assigns()
	return ok
}

// inside reads the text of sh -c.
func inside(c Command) ([]Command, error) {
	for i, w := range c.Words[1:] {
		if !strings.HasPrefix(w.Text, "-") {
			break
		}
		if !strings.HasPrefix(w.Text, "--") && strings.HasSuffix(w.Text, "c") && i+2 < len(c.Words) {
			text := c.Words[i+2]
			if text.Open {
				return []Command{c}, nil
			}
			line, err := Split(text.Text)
			if err != nil {
				return nil, err
			}
			var all []Command
			for n, part := range line.Commands {
				if n == 0 {
					part.After = c.After
				}
				more, err := Unwrap(part)
				if err != nil {
					return nil, err
				}
				for _, m := range more {
					m.At, m.End = c.At, c.End
					m.Piped = m.Piped || c.Piped
					all = append(all, m)
				}
			}
			return all, nil
		}
	}
	return []Command{c}, nil
}
