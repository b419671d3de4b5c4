package verify_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/verify"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestMany(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	if n == 0 {
		n = 80
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens=[\"tcp/22\"]\nknocks=[\"udp/%d\",\"udp/%d\",\"udp/%d\",\"udp/%d\"]\n", i, 1000+i*3%30000, 40000+(i*7919)%20000, 20000+(i*104729)%20000, 31000+i*31%10000)
	}
	p, d := policy.Parse("f", []byte(b.String()))
	if d.HasErrors() {
		t.Fatal(d[0])
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	for k, rs := range rendered(t, g) {
		t0 := cpu()
		r := verify.Verify(g, rs, verify.Options{})
		fmt.Println(k, cpu()-t0, r.Proved, r.States, r.Unproved, r.Differences)
	}
}
