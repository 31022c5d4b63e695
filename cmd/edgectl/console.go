package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/browser"
	"github.com/edgekit/edgekit/cmd/edgectl/internal/consoleproxy"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// consoleCmd shows cloudcore's web console in the user's browser.
type consoleCmd struct {
	Listen    string `help:"Serve the console here, for this machine only. Port 0 takes a free one." default:"127.0.0.1:0" placeholder:"ADDR"`
	Open      bool   `help:"Open it in the browser."`
	Server    string `help:"Address of cloudcore's console. Default: a pod of cloudcore, reached through the API server as kubectl port-forward does." placeholder:"https://HOST:PORT"`
	Port      int    `help:"The port of the console in the pod." default:"10005"`
	CA        string `name:"ca" help:"Authority of the console's certificate: what 'edgectl ca show' prints. Default: it is read from the cluster if you may; with --server, the authorities of this machine." placeholder:"FILE"`
	TokenFile string `help:"Log in with the token in this file. Default: the credentials of the kubeconfig." placeholder:"FILE"`
}

// Help is the text below the usage.
func (consoleCmd) Help() string {
	return `The page has the rights that you have in the cluster. Your token stays in this program: the
browser does not get it, and only the browser that opens the printed address can use it. On a
machine that you share with users you do not trust, log in to the console itself instead.

Examples:
  edgectl console --open
  edgectl console --server https://console.example.org --ca authority.pem`
}

// Run serves the console until the command is interrupted.
func (c *consoleCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return &program.UsageError{Setting: "listen", Reason: err.Error()}
	}
	if !consoleproxy.Loopback(host) {
		return &program.UsageError{Setting: "listen", Reason: "must be a loopback address, such as 127.0.0.1:0: others could use the console in your name"}
	}
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	to, closeIdle, err := c.upstream(ctx, cfg, cli.Namespace)
	if err != nil {
		return err
	}
	defer closeIdle()
	if err := c.try(ctx, to); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return &program.UsageError{Setting: "listen", Reason: err.Error()}
	}
	to.Address = listener.Addr().String()
	proxy, err := consoleproxy.New(to)
	if err != nil {
		_ = listener.Close() // the first error is the one that counts
		return err
	}
	if _, err := fmt.Fprintf(out, "The console is at %s\nuntil this command ends. Only the browser that opens this address can use it.\n", proxy.URL()); err != nil {
		_ = listener.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var opening sync.WaitGroup
	if c.Open {
		opening.Go(func() { openBrowser(ctx, proxy.URL()) })
	}
	err = serveConsole(ctx, listener, proxy)
	cancel()
	opening.Wait()
	return err
}

// openBrowser opens an address in the browser, and clears up when ctx ends.
func openBrowser(ctx context.Context, address string) {
	remove, err := browser.Open(ctx, address)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%v: open the address yourself\n", err)
		}
		return
	}
	<-ctx.Done()
	remove()
}

// serveConsole serves until ctx ends, and then ends the streams that are open.
func serveConsole(ctx context.Context, listener net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = server.Close() // what is still open is of no use without this program
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// upstream returns where the console is and how it is reached in the user's name.
func (c *consoleCmd) upstream(ctx context.Context, cfg *rest.Config, namespace string) (consoleproxy.Config, func(), error) {
	none := consoleproxy.Config{}
	user, err := c.user(cfg)
	if err != nil {
		return none, nil, err
	}
	roots, err := c.roots(ctx, cfg, namespace)
	if err != nil {
		return none, nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	closeAll := transport.CloseIdleConnections
	// The certificate has this name, and a connection to a pod ends at its loopback address.
	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("localhost:%d", c.Port)}
	if c.Server != "" {
		target, err = url.Parse(c.Server)
		if err != nil || target.Scheme != "https" || target.Host == "" || target.Path != "" && target.Path != "/" {
			return none, nil, &program.UsageError{Setting: "server", Reason: "must be https://HOST or https://HOST:PORT"}
		}
		transport.Proxy = http.ProxyFromEnvironment
	} else {
		client, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return none, nil, err
		}
		f := &podForward{cfg: cfg, client: client, namespace: namespace, port: c.Port}
		transport.DialContext = f.dial
		closeAll = func() { transport.CloseIdleConnections(); f.close() }
	}
	wrapped, err := rest.HTTPWrappersForConfig(user, transport)
	if err != nil {
		return none, nil, fmt.Errorf("use the credentials of the kubeconfig: %w", err)
	}
	return consoleproxy.Config{Target: target, Transport: wrapped}, closeAll, nil
}

// user returns the configuration whose token the console gets. Only a token can be handed on: a
// client certificate proves who holds it to the API server alone.
func (c *consoleCmd) user(cfg *rest.Config) (*rest.Config, error) {
	if c.TokenFile != "" {
		if _, err := os.ReadFile(c.TokenFile); err != nil {
			return nil, &program.UsageError{Setting: "token-file", Reason: err.Error()}
		}
		return &rest.Config{Host: cfg.Host, BearerTokenFile: c.TokenFile}, nil
	}
	if cfg.Impersonate.UserName != "" {
		return nil, &program.UsageError{Setting: "kubeconfig", Reason: "it impersonates " + cfg.Impersonate.UserName + ", which the console cannot: use a kubeconfig of that user, or --token-file"}
	}
	var sent authorization
	asked, err := rest.HTTPWrappersForConfig(cfg, &sent)
	if err != nil {
		return nil, fmt.Errorf("use the credentials of the kubeconfig: %w", err)
	}
	r, err := http.NewRequest(http.MethodGet, "https://localhost/", nil) //nolint:noctx // it is not sent
	if err != nil {
		return nil, err
	}
	resp, err := asked.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("get a token as the kubeconfig says: %w", err)
	}
	_ = resp.Body.Close() // there is none
	if !sent.bearer {
		return nil, &program.UsageError{Setting: "kubeconfig", Reason: "it has no token, but a client certificate or a password, and only the API server can check those. " +
			"Make a token for a service account that has the rights you want, and use it: kubectl create token NAME -n NAMESPACE > token; edgectl console --token-file token"}
	}
	return cfg, nil
}

// authorization looks at the header that a request would have, and sends nothing.
type authorization struct{ bearer bool }

// RoundTrip answers by itself.
func (a *authorization) RoundTrip(r *http.Request) (*http.Response, error) {
	a.bearer = len(r.Header.Get("Authorization")) > len("Bearer ") && r.Header.Get("Authorization")[:len("Bearer ")] == "Bearer "
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// roots returns the authorities that may have signed the console's certificate; nil for those of
// this machine.
func (c *consoleCmd) roots(ctx context.Context, cfg *rest.Config, namespace string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, &program.UsageError{Setting: "ca", Reason: err.Error()}
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, &program.UsageError{Setting: "ca", Reason: c.CA + " has no certificate: it must be PEM, as 'edgectl ca show' prints it"}
		}
		return pool, nil
	}
	if c.Server != "" {
		return nil, nil
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	store, err := (&cli{Namespace: namespace}).identityOf(client)
	if err != nil {
		return nil, err
	}
	authorities, err := store.Authorities(ctx)
	if apierrors.IsForbidden(err) {
		return nil, &program.UsageError{Setting: "ca", Reason: "you may not read the authority of the console's certificate from the cluster: ask an administrator for what 'edgectl ca show' prints, and give it as --ca FILE"}
	}
	if apierrors.IsUnauthorized(err) {
		return nil, &program.UsageError{Setting: "kubeconfig", Reason: "the cluster does not accept its credentials: they may have run out, or be of another cluster; look with 'kubectl auth whoami'"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the authority of the console's certificate: %w", err)
	}
	for _, a := range authorities.Bundle() {
		pool.AddCert(a)
	}
	return pool, nil
}

// try asks the console who the user is, so that what is wrong is said here and not in the browser.
func (c *consoleCmd) try(ctx context.Context, to consoleproxy.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.Target.JoinPath("/console/api/v1/me").String(), nil)
	if err != nil {
		return err
	}
	resp, err := to.Transport.RoundTrip(r)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown), errors.As(err, &name):
		return &program.UsageError{Setting: "ca", Reason: err.Error() + ": give the authority that 'edgectl ca show' prints, or that of cloudcore's --console-cert"}
	case err != nil:
		return fmt.Errorf("reach cloudcore's console: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusServiceUnavailable, http.StatusTooManyRequests: // the page says what is for now
		return nil
	case http.StatusUnauthorized:
		return errors.New("the cluster of the console does not accept your token: it may have run out, or be of another cluster; look with 'kubectl auth whoami'")
	case http.StatusNotFound:
		return errors.New("there is no console at this address: cloudcore may be of an older version, or its console turned off (--console-listen)")
	}
	return fmt.Errorf("cloudcore's console answers %s", resp.Status)
}
