package dra_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	drahealth "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestHealthAfterRestart: in another life of the program nothing is said of the health of a
// claim that was prepared before, until its driver does.
func TestHealthAfterRestart(t *testing.T) {
	m := newMachine(t)
	d, _ := m.driver(dratest.Config{Health: true})
	m.claim("gpu", []string{driverName}, "a")
	d.SetDevices("uid-gpu", &drapb.Device{PoolName: "p", DeviceName: "d0"})
	p := pod("a", "gpu")
	m.prepare(p)
	statuses := func() string { return fmt.Sprint(m.m.ResourceStatuses(p, &p.Spec.Containers[0])) }
	if got := m.m.ResourceStatuses(p, &p.Spec.Containers[0]); len(got) != 1 || got[0].Resources[0].Health != "Unknown" {
		t.Errorf("a new claim: %s", statuses())
	}
	m.restart()
	if got := m.m.ResourceStatuses(p, &p.Spec.Containers[0]); len(got) != 0 {
		t.Errorf("after a restart: %s", statuses())
	}
	d.SetHealth(&drahealth.DeviceHealth{Device: &drahealth.DeviceIdentifier{PoolName: "p", DeviceName: "d0"}, Health: drahealth.HealthStatus_HEALTHY, HealthCheckTimeoutSeconds: 3600})
	m.run(m.m.Run)
	for got := m.m.ResourceStatuses(p, &p.Spec.Containers[0]); len(got) != 1 || got[0].Resources[0].Health != "Healthy"; got = m.m.ResourceStatuses(p, &p.Spec.Containers[0]) {
		select {
		case <-m.health:
		case <-t.Context().Done():
			t.Fatalf("when the driver is back: %s", statuses())
		}
	}
}

// TestHealthWithoutDriver: the health of before ends after 30 seconds without the driver.
func TestHealthWithoutDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		const record = `{"namespace":"ns","name":"gpu","uid":"uid-gpu","pods":["a"],"drivers":[{"name":"gpu.example","devices":[{"pool":"p","name":"d0"}]}],"prepared":true}`
		if _, err := store.Apply(t.Context(), meta.Op{Key: meta.Local + "dra/claims/uid-gpu", Value: []byte(record)}); err != nil {
			t.Fatal(err)
		}
		notified := make(chan []string, 10)
		m, err := dra.New(dra.Config{Store: store, Claims: &machine{}, HealthChanged: func(pods []string) { notified <- pods }})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		p := pod("a", "gpu")
		<-time.After(29 * time.Second)
		if got := m.ResourceStatuses(p, &p.Spec.Containers[0]); len(got) != 0 || len(notified) != 0 {
			t.Errorf("before: %v, %d notices", got, len(notified))
		}
		<-time.After(21 * time.Second)
		if got := m.ResourceStatuses(p, &p.Spec.Containers[0]); len(got) != 1 || got[0].Resources[0].Health != "Unknown" || len(notified) != 1 || !slices.Equal(<-notified, []string{"a"}) {
			t.Errorf("after: %v, %d notices", got, len(notified))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
