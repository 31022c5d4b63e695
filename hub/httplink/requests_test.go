package httplink

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRequests: a handler that begins when the stream has closed is either waited for or not run.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r requests
		if !r.enter() {
			t.Fatal("not open")
		}
		time.AfterFunc(time.Minute, r.leave)
		began := time.Now()
		r.close()
		if took := time.Since(began); took != time.Minute || r.enter() {
			t.Errorf("it waited %s", took)
		}
	})
}
