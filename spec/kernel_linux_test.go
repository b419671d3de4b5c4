package spec

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/vector"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// atOnce is how many vectors are replayed side by side. They mostly wait.
const atOnce = 4

// TestKernel replays every vector in a real kernel, with every kind of kernel
// program, in real time.
func TestKernel(t *testing.T) {
	labtest.Require(t)
	vectors, err := vector.Load("vectors")
	if err != nil {
		t.Fatal(err)
	}
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	var tardy tardyList
	for _, kind := range kinds.All() {
		for i := range vectors {
			v := &vectors[i]
			if !v.Kernel || v.Backends != nil && !slices.Contains(v.Backends, kind.Backend) {
				continue
			}
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				t.Run(kind.Name+"/"+v.Name, func(t *testing.T) {
					if !replayInKernel(t, v, kind, 3) {
						tardy.add(v, kind)
					}
				})
			})
		}
	}
	all.Wait()
	// What the machine was too busy for has it for itself.
	for _, late := range tardy.list {
		t.Run("again/"+late.kind.Name+"/"+late.vector.Name, func(t *testing.T) {
			if !replayInKernel(t, late.vector, late.kind, 10) {
				t.Error("this machine cannot keep the time of the vector")
			}
		})
	}
}

// tardyList holds the vectors that were sent too late to say anything.
type tardyList struct {
	sync.Mutex
	list []struct {
		vector *vector.Vector
		kind   kinds.Kind
	}
}

func (l *tardyList) add(v *vector.Vector, in kinds.Kind) {
	l.Lock()
	defer l.Unlock()
	l.list = append(l.list, struct {
		vector *vector.Vector
		kind   kinds.Kind
	}{v, in})
}

// replayInKernel tries some times if the machine was too busy to keep the
// vector's time. False: it was too busy each time.
func replayInKernel(t *testing.T, v *vector.Vector, in kinds.Kind, tries int) bool {
	for range tries {
		err := backendtest.Replay(context.Background(), v, in.Make)
		if err == nil {
			return true
		}
		var tardy backendtest.Tardy
		if !errors.As(err, &tardy) {
			t.Fatalf("%v\n%s", err, v.Source)
		}
		t.Logf("again: %v", err)
	}
	return false
}
