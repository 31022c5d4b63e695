package runguard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// TestRequests: a request that comes when Run ends is either waited for or not answered.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r runguard.Requests
		if !r.Enter() {
			t.Fatal("not open")
		}
		time.AfterFunc(time.Minute, r.Leave)
		began := time.Now()
		r.Close()
		if took := time.Since(began); took != time.Minute || r.Enter() {
			t.Errorf("it waited %s", took)
		}
	})
}
