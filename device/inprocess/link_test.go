package inprocess_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is a twin engine as the suite's far end.
type edge struct{ engine *twin.Engine }

func start(t *testing.T) edge {
	t.Helper()
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return edge{engine}
}

func (e edge) Put(t *testing.T, id, protocol string) {
	put, err := devicespec.Declare(schema.DeviceSpec{
		Protocol:   schema.Protocol{Name: protocol},
		Properties: []schema.Property{{Name: "temperature"}, {Name: "target"}},
	}, schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly},
		{Name: "target", Type: schema.TypeFloat, AccessMode: schema.ReadWrite},
	}})
	if err := errors.Join(err, e.engine.Put(t.Context(), id, put)); err != nil {
		t.Fatal(err)
	}
}

func (e edge) Remove(t *testing.T, id string) {
	if err := e.engine.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func (e edge) SetDesired(t *testing.T, id, property, value string) {
	if err := e.engine.SetDesired(t.Context(), id, map[string]string{property: value}); err != nil {
		t.Fatal(err)
	}
}

func (e edge) Actual(_ *testing.T, id, property string) string {
	d, _ := e.engine.Device(id)
	if v := d.Twins[property].Actual; v != nil {
		return v.Value
	}
	return ""
}

func (e edge) State(_ *testing.T, id string) string {
	d, _ := e.engine.Device(id)
	return d.State
}

func TestLink(t *testing.T) {
	devicetest.RunLink(t, func(t *testing.T) (device.Link, devicetest.Edge) {
		e := start(t)
		link, err := inprocess.New(inprocess.Config{Engine: e.engine})
		if err != nil {
			t.Fatal(err)
		}
		return link, e
	})
}
