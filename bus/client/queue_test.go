package client

import (
	"fmt"
	"io"
	"testing"
)

// contents drains the outbox.
func contents(t *testing.T, o *outbox) string {
	t.Helper()
	var all []string
	for {
		e, err := o.Peek()
		if err != nil {
			return fmt.Sprint(all)
		}
		r, _ := e.Reader()
		text, _ := io.ReadAll(r)
		all = append(all, string(text))
		if err := e.Remove(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutbox(t *testing.T) {
	dropped := 0
	o := newOutbox(2, func() { dropped++ })
	for _, p := range []string{"1", "2", "3"} {
		if o.add(&entry{packet: []byte(p)}) != nil {
			t.Errorf("%s had to wait while the broker is away", p)
		}
	}
	if _, err := o.Peek(); err == nil {
		t.Error("the sender sees a message while the broker is away")
	}
	if dropped != 1 {
		t.Errorf("dropped %d, want 1", dropped)
	}
	o.setConnected(true)
	<-o.Wait()
	wait := o.add(&entry{packet: []byte("4")})
	if wait == nil {
		t.Fatal("there was room")
	}
	head, err := o.Peek()
	if err != nil {
		t.Fatal(err)
	}
	o.putBack([]unacked{{id: 1, packet: []byte("0")}})
	if err := head.Remove(); err != nil { // although it is not the first any more
		t.Fatal(err)
	}
	<-wait
	if got := contents(t, o); got != "[0 3]" {
		t.Errorf("outbox has %s", got)
	}
	select {
	case <-o.Wait():
		t.Error("an empty outbox says that it has something")
	default:
	}
}

// TestOldConnection has the connection end between Peek and the sending: the message is refused
// there and stays for the next one.
func TestOldConnection(t *testing.T) {
	o := newOutbox(2, func() {})
	if o.add(&entry{packet: []byte("1"), done: func(byte) {}}) != nil {
		t.Fatal("full")
	}
	o.setConnected(true)
	<-o.Wait()
	if _, err := o.Peek(); err != nil {
		t.Fatal(err)
	}
	if done, err := o.confirms(); err != nil || done == nil {
		t.Error(err)
	}
	o.setConnected(false)
	o.setConnected(true)
	<-o.Wait()
	if _, err := o.confirms(); err != errOldConnection { //nolint:errorlint // it is returned as it is
		t.Errorf("got %v", err)
	}
	if _, err := o.Peek(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.confirms(); err != nil {
		t.Error(err)
	}
}
