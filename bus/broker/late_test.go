package broker

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestLateListener: a socket on a disk that cannot be written is made once it can be, and Close ends the wait.
func TestLateListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		path := filepath.Join(t.TempDir(), "mqtt.sock")
		l := newLateListener(path, func() (net.Listener, error) {
			if tries++; tries < 4 {
				return nil, syscall.EROFS
			}
			return failing{}, nil
		})
		began := time.Now()
		if _, err := l.Accept(); !errors.Is(err, errFailing) || tries != 4 || time.Since(began) != 3*latePause {
			t.Errorf("%v after %d tries and %v", err, tries, time.Since(began))
		}
		if l.Addr().String() != path {
			t.Errorf("its address is %s", l.Addr())
		}
		never := newLateListener(path, func() (net.Listener, error) { return nil, syscall.EROFS })
		ended := make(chan error)
		go func() {
			_, err := never.Accept()
			ended <- err
		}()
		synctest.Wait()
		if err := never.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

var errFailing = errors.New("no connection")

// failing is a listener without connections.
type failing struct{ net.Listener }

func (failing) Accept() (net.Conn, error) { return nil, errFailing }
