package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(modeEnv) != modeCancel {
		os.Exit(labtest.Main(m))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	done, exit, err := lab.Reexec(ctx, os.Args[1:])
	if !done && err == nil {
		exit = m.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		exit = 99
	}
	os.Exit(exit)
}
