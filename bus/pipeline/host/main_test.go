package host_test

import (
	"testing"

	"go.uber.org/goleak"
)

// net/http waits half a second with a connection that it closes after an error: a little longer
// than goleak does.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
