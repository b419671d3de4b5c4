package connect

import (
	"context"
	"fmt"
	"io"
	"net"
)

// Stream is the local end of what Carry carries.
type Stream struct {
	In  io.Reader
	Out io.WriteCloser
	// Interactive says that In is a terminal, whose end nobody sends: when the
	// remote end closes there is nothing left to type for.
	Interactive bool
}

// Carry copies both ways until both directions have ended, and closes the
// connection. The end of one direction is passed on, and does not end the other:
// what is still on its way arrives. It fails if something was lost, or ctx ended.
func Carry(ctx context.Context, conn net.Conn, s Stream) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	sent := make(chan error, 1)
	go func() { sent <- send(conn, s.In) }()
	_, err := io.Copy(s.Out, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("receive: %w", plain(err))
	}
	if err := s.Out.Close(); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if s.Interactive {
		return nil
	}
	select {
	case err = <-sent:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("send: %w", plain(err))
	}
	return nil
}

// send copies to the connection, and passes the end on.
func send(conn net.Conn, in io.Reader) error {
	if _, err := io.Copy(conn, in); err != nil {
		return err
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		// It fails if the other end is gone, which the receiving side reports.
		half.CloseWrite()
	}
	return nil
}
