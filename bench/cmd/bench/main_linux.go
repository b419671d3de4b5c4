// Command bench measures tirl beside its peers and writes docs/benchmarks.md.
// It needs root. See package tirl/bench.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"tirl/bench"
)

func main() {
	docs := flag.String("docs", "docs", "the `directory` of the report")
	only := flag.String("only", "", "measure these `sections` alone, separated by commas; the others stay as they were")
	factor := flag.Float64("factor", 1, "how much of the usual time to take")
	match := flag.String("match", "", "measure only what this regular `expression` matches, for a look")
	write := flag.Bool("write", false, "measure nothing, write the report anew from its numbers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *docs, *only, *match, *factor, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, docs, only, match string, factor float64, write bool) error {
	r, err := bench.Read(docs)
	if err != nil {
		return err
	}
	var failed error
	if !write {
		if r.Machine, err = bench.ThisMachine(ctx); err != nil {
			return err
		}
		o := bench.Options{Factor: factor, Log: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
		}}
		if match != "" {
			if o.Match, err = regexp.Compile(match); err != nil {
				return err
			}
		}
		if only != "" {
			o.Only = strings.Split(only, ",")
		}
		if failed = r.Run(ctx, bench.Sections(), o); len(r.Sections) == 0 || ctx.Err() != nil {
			return failed
		}
	}
	if err := r.Write(docs); err != nil {
		return err
	}
	return failed
}
