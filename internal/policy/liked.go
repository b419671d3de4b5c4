package policy

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// liked is a kind of number that people take for a port.
type liked struct {
	text  string
	is    func(uint16) bool
	count float64 // how many there are, from 1 to 65535
}

// likings are the kinds, the narrower first.
func likings() []liked {
	return []liked{
		{"they are numbers that every hacker knows", isFamous, 51},
		{"they look like years", isYear, 200},
		{"they are all round numbers", func(p uint16) bool { return p%100 == 0 }, 655},
		{"their digits repeat, count or mirror", isDigitPattern, 1015},
		{"they are all below 1024, where scanners look first", func(p uint16) bool { return p < 1024 }, 1023},
		{"they are ports of well-known services", isKnownService, 1098},
	}
}

// likedByAnybody is how many numbers are of any kind of likings.
const likedByAnybody = 2855

func isLiked(ports []uint16) Pattern {
	all := func(is func(uint16) bool) bool {
		return !slices.ContainsFunc(ports, func(p uint16) bool { return !is(p) })
	}
	of := func(text string, count float64) Pattern {
		return Pattern{text, float64(len(ports)) * math.Log2(count), math.Log2(count)}
	}
	for _, l := range likings() {
		if all(l.is) {
			return of(l.text, l.count)
		}
	}
	if all(isAnyLiked) {
		return of("each is round, a year, a well-known port or a pattern of digits", likedByAnybody)
	}
	return Pattern{}
}

func isAnyLiked(p uint16) bool {
	return slices.ContainsFunc(likings(), func(l liked) bool { return l.is(p) })
}

// isFamous knows numbers of folklore, of mathematics and powers of two.
func isFamous(p uint16) bool {
	if p >= 256 && p&(p-1) == 0 {
		return true
	}
	return slices.Contains([]uint16{
		42, 69, 420, 666, 747, 911, 1138, 1234, 1312, 1337, 1338, 1414, 1618, 1701, 1729, 1984, 2600, 2718, 3141, 3142,
		4242, 4711, 6174, 6502, 6666, 6969, 7331, 8008, 8086, 9001, 12345, 13337, 13370, 14142, 16180, 27182, 27183,
		31337, 31415, 31416, 42069, 54321, 65535,
	}, p)
}

// isDigitPattern knows numbers of three digits or more whose digits go up or
// down by one same number (5555, 2345, 9630, 8901), are one or two digits again
// and again (4545, 1122) or are the same backwards (1221, 12321), and lines of a
// telephone's keypad.
func isDigitPattern(p uint16) bool {
	s := strconv.Itoa(int(p))
	if len(s) < 3 {
		return false
	}
	steps, repeats, mirrors := true, len(s) > 3, len(s) > 3
	for i := range s {
		steps = steps && (i < 2 || (s[i]-s[i-1]+10)%10 == (s[i-1]-s[i-2]+10)%10)
		repeats = repeats && (i < 2 || s[i] == s[i-2])
		mirrors = mirrors && s[i] == s[len(s)-1-i]
	}
	pairs := len(s) == 4 && s[0] == s[1] && s[2] == s[3]
	keypad := strings.Contains(" 147 159 258 357 369 741 753 852 951 963 2580 ", " "+s+" ")
	return steps || repeats || mirrors || pairs || keypad
}

// isKnownService knows the ports below 1024, and those above that scanners try
// first.
func isKnownService(p uint16) bool {
	return p < 1024 || slices.Contains([]uint16{
		1080, 1194, 1433, 1521, 1701, 1723, 1883, 2049, 2082, 2083, 2181, 2222, 2375, 2376, 2379, 3000, 3128, 3260, 3306,
		3389, 3478, 3690, 4369, 4443, 4500, 5000, 5001, 5044, 5060, 5061, 5201, 5222, 5353, 5432, 5601, 5672, 5900, 5901,
		5985, 5986, 6379, 6443, 6667, 8000, 8006, 8080, 8081, 8086, 8088, 8333, 8443, 8500, 8883, 8888, 9000, 9042, 9090,
		9092, 9100, 9200, 9300, 9418, 9443, 10000, 10050, 11211, 15672, 25565, 27015, 27017, 32400, 33060, 50000, 51820, 61616,
	}, p)
}
