package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/console"
)

// defaultConsole is where the console is served if nothing else is asked for: only this machine,
// or this pod, reaches it, and who may forward ports to the pod.
const defaultConsole = "127.0.0.1:10005"

// consoleService is the name of the console's Service in a cluster.
const consoleService = "cloudcore-console"

// consoleFlags are the settings of the web console.
type consoleFlags struct {
	Listen      string        `help:"Serve the web console (HTTPS) on this address, at /console/. Users log in with a token of the cluster. The default is reached with 'edgectl console' or kubectl port-forward; :10005 serves it to all who reach this machine, in a cluster behind the Service cloudcore-console. Empty turns it off." default:"127.0.0.1:10005" placeholder:"ADDR"`
	Cert        string        `help:"Certificate of the console. Default: one of edgekit's own authority, for this machine, --advertise and the Service." placeholder:"FILE"`
	Key         string        `help:"Key of the certificate." placeholder:"FILE"`
	SiteLabel   []string      `help:"Labels of nodes that name their site in the console; the first that a node has counts." default:"apps.kubeedge.io/belonging-to,topology.kubernetes.io/zone" placeholder:"LABEL,..."`
	SessionIdle time.Duration `help:"How long a login to the console lasts without a request." default:"30m"`
	SessionLife time.Duration `help:"How long a login to the console lasts at most." default:"12h"`
}

// consoleParts are what the console needs besides its flags.
type consoleParts struct {
	advertise []string
	namespace string
	issue     func(hosts ...string) (func() (*tls.Certificate, error), error)
	log       *slog.Logger
}

// config sets up the console and its listener; nil if it is turned off. Another program on the
// default address is no reason to serve no nodes.
func (f *consoleFlags) config(p consoleParts) (*console.Config, error) {
	if f.Listen == "" {
		return nil, nil
	}
	if f.SessionIdle < time.Minute || f.SessionIdle > f.SessionLife {
		return nil, &program.UsageError{Setting: "console-session-idle", Reason: "must be 1m to --console-session-life"}
	}
	if f.SessionLife > 7*24*time.Hour {
		return nil, &program.UsageError{Setting: "console-session-life", Reason: "must be at most 168h"}
	}
	certificate, err := f.certificate(p)
	if err != nil {
		return nil, err
	}
	log := p.log.With("component", "console")
	listener, err := net.Listen("tcp", f.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && f.Listen == defaultConsole {
		log.Warn("the web console is not served, because another program has its address: choose one with console-listen", "address", f.Listen)
		return nil, nil
	}
	if err != nil {
		return nil, &program.UsageError{Setting: "console-listen", Reason: err.Error() + ": choose a free address"}
	}
	return &console.Config{
		Listener: listener, Certificate: certificate, SiteLabels: f.SiteLabel,
		SessionIdle: f.SessionIdle, SessionLife: f.SessionLife, Logger: log,
	}, nil
}

// certificate returns the certificate of the files, which may be rotated, or one of edgekit's
// own authority.
func (f *consoleFlags) certificate(p consoleParts) (func() (*tls.Certificate, error), error) {
	if f.Cert != "" || f.Key != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, &program.UsageError{Setting: "console-cert", Reason: err.Error()}
		}
		return load, nil
	}
	hosts, err := serverHosts(p.advertise)
	if err != nil {
		return nil, err
	}
	service := consoleService + "." + p.namespace
	certificate, err := p.issue(append(hosts, consoleService, service, service+".svc")...)
	if err != nil {
		return nil, fmt.Errorf("cloudcore: the console: %w", err)
	}
	return certificate, nil
}
