package broker_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTransport(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return bustest.Subject{Transport: b}
	})
}
