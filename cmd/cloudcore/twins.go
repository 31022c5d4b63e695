package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/twins"
)

// twinsFlags are the settings of the live values of devices.
type twinsFlags struct {
	Listen  string     `help:"Serve the live values of devices on this address, for the API server: kubectl get twins -w. The cluster needs what 'edgectl manifest --twins' prints. Empty turns it off." placeholder:"ADDR"`
	Address netip.Addr `help:"Address by which the API server reaches this cloudcore for them. Default: --kubelet-address." placeholder:"IP"`
	Memory  int        `help:"How many MiB the live values of all devices may take. Devices without room are there without values." default:"256" name:"memory-mib"`
}

// liveValues serve what the nodes report of devices, as it comes. nil serves nothing.
type liveValues struct {
	store        *twins.Store
	server       *twins.Server
	registration *twins.Registration
	listener     net.Listener
}

// newLiveValues makes the server and its listener; nil if it is turned off.
func newLiveValues(r *runCmd, cfg *rest.Config, client kubernetes.Interface, trust *trust, log *slog.Logger) (*liveValues, error) {
	f := r.Twins
	if f.Listen == "" {
		return nil, nil
	}
	if f.Memory < 1 {
		return nil, &program.UsageError{Setting: "twins-memory-mib", Reason: "must be 1 or more"}
	}
	address := f.Address
	if !address.IsValid() {
		address = r.Kubelet.Address
	}
	if !address.IsValid() {
		var err error
		if address, err = reachable(cfg.Host, r.Advertise); err != nil {
			return nil, &program.UsageError{Setting: "twins-address", Reason: err.Error()}
		}
	}
	store, err := twins.NewStore(twins.StoreConfig{MaxBytes: f.Memory << 20})
	if err != nil {
		return nil, err
	}
	certificate, err := trust.keyring.ServerCertificate(twins.Host(r.Namespace), address.String())
	if err != nil {
		return nil, fmt.Errorf("cloudcore: %w", err)
	}
	log = log.With("component", "twins")
	server, err := twins.New(twins.Config{Store: store, Cloud: client, Certificate: certificate, Logger: log})
	if err != nil {
		return nil, err
	}
	own, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cloudcore: %w", err)
	}
	listener, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return nil, &program.UsageError{Setting: "twins-listen", Reason: err.Error() + ": choose a free address"}
	}
	port := netip.AddrPortFrom(address, uint16(listener.Addr().(*net.TCPAddr).Port))
	registration, err := twins.NewRegistration(twins.RegistrationConfig{
		Dynamic: own, Namespace: r.Namespace, Address: port, Authority: trust.keyring.Bundle, Logger: log,
	})
	if err != nil {
		return nil, &program.UsageError{Setting: "twins-address", Reason: err.Error()}
	}
	return &liveValues{store: store, server: server, registration: registration, listener: listener}, nil
}

// reports is what the reports of devices are given to; nil if nobody wants them.
func (l *liveValues) reports() devices.Live {
	if l == nil {
		return nil
	}
	return l.store
}

func (l *liveValues) run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.server.Run(ctx, l.listener) })
	group.Go(func() error { return l.registration.Run(ctx) })
	return group.Wait()
}
