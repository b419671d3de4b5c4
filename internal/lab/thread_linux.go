package lab

import (
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// thread is an operating system thread that runs nothing but the functions that
// it is given, one after the other. Namespaces and CPU affinity belong to
// threads, so what prepare changes holds for all of them.
type thread struct {
	work chan func()
	quit chan struct{}
	once sync.Once
}

func newThread(prepare func() error) (*thread, error) {
	t := &thread{work: make(chan func()), quit: make(chan struct{})}
	ready := make(chan error)
	throwaway(func() {
		err := prepare()
		ready <- err
		if err == nil {
			t.loop()
		}
	})
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

func (t *thread) loop() {
	for {
		select {
		case f := <-t.work:
			f()
		case <-t.quit:
			return
		}
	}
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case t.work <- func() { done <- f() }:
		return <-done
	case <-t.quit:
		return os.ErrClosed
	}
}

// stop ends the thread, and with it what only the thread holds.
func (t *thread) stop() { t.once.Do(func() { close(t.quit) }) }

// throwaway runs f on a thread that ends with f: a goroutine that returns
// without having unlocked its thread takes the thread along.
func throwaway(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// The main thread does not end before the process; the runtime would
		// park it, in whatever namespace it then is. Hold it until f has another.
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}
