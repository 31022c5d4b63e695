package bustest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTransport(t *testing.T) {
	bustest.Run(t, func(*testing.T) bustest.Subject { return bustest.Subject{Transport: bustest.New()} })
}
