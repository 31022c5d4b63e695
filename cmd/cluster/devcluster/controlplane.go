package devcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

const (
	serviceCIDR    = "10.215.0.0/16"
	serviceAddress = "10.215.0.1"
)

// component is a part of the cluster that Up starts.
type component struct {
	process.Spec
	ready func(ctx context.Context) error // nil once it serves
}

// controlPlane lists the parts of the control plane in the order in which
// they start.
func (c *Cluster) controlPlane() ([]component, error) {
	probe, err := c.probe()
	if err != nil {
		return nil, err
	}
	return []component{c.etcd(probe), c.apiServer(probe), c.controllerManager(probe), c.scheduler(probe)}, nil
}

func (c *Cluster) etcd(probe probeFunc) component {
	client, peer := "https://127.0.0.1:"+strconv.Itoa(c.state.Ports.EtcdClient), "https://127.0.0.1:"+strconv.Itoa(c.state.Ports.EtcdPeer)
	crt, key, ca := c.pki("etcd.crt"), c.pki("etcd.key"), c.pki("etcd-ca.crt")
	return component{
		Spec: process.Spec{Name: "etcd", Path: c.Built("etcd"), Env: []string{"GOMEMLIMIT=200MiB"}, Args: []string{
			"--name=edgekit", "--data-dir=" + c.path("etcd"), "--unsafe-no-fsync", // a development cluster may lose its last second
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=edgekit=" + peer,
			"--client-cert-auth", "--cert-file=" + crt, "--key-file=" + key, "--trusted-ca-file=" + ca,
			"--peer-client-cert-auth", "--peer-cert-file=" + crt, "--peer-key-file=" + key, "--peer-trusted-ca-file=" + ca,
			"--auto-compaction-mode=periodic", "--auto-compaction-retention=30m", "--log-level=warn",
		}},
		ready: func(ctx context.Context) error { return probe(ctx, client+"/health") },
	}
}

func (c *Cluster) apiServer(probe probeFunc) component {
	return component{
		Spec: process.Spec{Name: "kube-apiserver", Path: c.Built("kube-apiserver"), Env: []string{"GOGC=50", "GOMEMLIMIT=600MiB"}, Args: []string{
			"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.state.Ports.APIServer),
			"--endpoint-reconciler-type=none", // loopback is no endpoint for the service "kubernetes"
			"--etcd-servers=https://127.0.0.1:" + strconv.Itoa(c.state.Ports.EtcdClient),
			"--etcd-cafile=" + c.pki("etcd-ca.crt"), "--etcd-certfile=" + c.pki("apiserver-etcd-client.crt"), "--etcd-keyfile=" + c.pki("apiserver-etcd-client.key"),
			"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
			"--client-ca-file=" + c.pki("ca.crt"),
			"--kubelet-client-certificate=" + c.pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + c.pki("apiserver-kubelet-client.key"),
			"--proxy-client-cert-file=" + c.pki("front-proxy-client.crt"), "--proxy-client-key-file=" + c.pki("front-proxy-client.key"),
			"--requestheader-client-ca-file=" + c.pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + c.pki("sa.pub"), "--service-account-signing-key-file=" + c.pki("sa.key"),
			"--service-cluster-ip-range=" + serviceCIDR,
			"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--profiling=false", "--event-ttl=1h",
		}},
		ready: func(ctx context.Context) error { return probe(ctx, c.server()+"/readyz") },
	}
}

func (c *Cluster) controllerManager(probe probeFunc) component {
	config, port := c.pki("controller-manager.kubeconfig"), strconv.Itoa(c.state.Ports.ControllerManager)
	return component{
		Spec: process.Spec{Name: "kube-controller-manager", Path: c.Built("kube-controller-manager"), Env: []string{"GOGC=50"}, Args: []string{
			"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", "--secure-port=" + port,
			"--tls-cert-file=" + c.pki("controller-manager.crt"), "--tls-private-key-file=" + c.pki("controller-manager.key"),
			"--use-service-account-credentials", "--service-account-private-key-file=" + c.pki("sa.key"), "--root-ca-file=" + c.pki("ca.crt"),
			"--allocate-node-cidrs=false", // the node's CNI has a fixed network
			"--leader-elect=false", "--profiling=false",
			// Off: edgekit signs its own certificates, and nothing here grows a volume.
			"--controllers=*,-certificatesigningrequest-signing-controller,-certificatesigningrequest-approving-controller," +
				"-persistentvolume-expander-controller",
		}},
		ready: func(ctx context.Context) error { return probe(ctx, "https://127.0.0.1:"+port+"/healthz") },
	}
}

func (c *Cluster) scheduler(probe probeFunc) component {
	config, port := c.pki("scheduler.kubeconfig"), strconv.Itoa(c.state.Ports.Scheduler)
	return component{
		Spec: process.Spec{Name: "kube-scheduler", Path: c.Built("kube-scheduler"), Env: []string{"GOGC=50"}, Args: []string{
			"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", "--secure-port=" + port,
			"--tls-cert-file=" + c.pki("scheduler.crt"), "--tls-private-key-file=" + c.pki("scheduler.key"),
			"--leader-elect=false", "--profiling=false",
		}},
		ready: func(ctx context.Context) error { return probe(ctx, "https://127.0.0.1:"+port+"/healthz") },
	}
}

func (c *Cluster) pki(name string) string { return c.path("pki", name) }

// probeFunc asks a health endpoint; nil is healthy.
type probeFunc func(ctx context.Context, url string) error

// probe makes the one that knows the cluster's authorities and shows etcd a
// client's certificate.
func (c *Cluster) probe() (probeFunc, error) {
	roots := x509.NewCertPool()
	for _, name := range []string{"ca.crt", "etcd-ca.crt"} {
		pem, err := os.ReadFile(c.pki(name))
		if err != nil {
			return nil, fmt.Errorf("devcluster: %w", err)
		}
		roots.AppendCertsFromPEM(pem)
	}
	pair, err := tls.LoadX509KeyPair(c.pki("apiserver-etcd-client.crt"), c.pki("apiserver-etcd-client.key"))
	if err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12,
			GetClientCertificate: func(req *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if req.SupportsCertificate(&pair) == nil {
					return &pair, nil
				}
				return new(tls.Certificate), nil
			}},
	}}
	return func(ctx context.Context, url string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New("devcluster: " + url + ": " + resp.Status)
		}
		return nil
	}, nil
}
