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
