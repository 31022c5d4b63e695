package devcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/edgekit/edgekit/cmd/cluster/pki"
)

// makeCertificates makes all keys, certificates and kubeconfigs, unless they
// were made before. The administrator's kubeconfig is written last: where it
// is, everything is.
func (c *Cluster) makeCertificates() error {
	if _, err := os.Stat(c.path(kubeconfigName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	ca, err := c.authority("ca", "edgekit-cluster")
	if err != nil {
		return err
	}
	etcd, err := c.authority("etcd-ca", "edgekit-etcd")
	if err != nil {
		return err
	}
	proxy, err := c.authority("front-proxy-ca", "edgekit-front-proxy")
	if err != nil {
		return err
	}
	loopback := []string{"127.0.0.1", "localhost"}
	service := []string{serviceAddress, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, p := range []struct {
		name string
		by   *pki.Authority
		req  pki.Request
	}{
		{"apiserver", ca, pki.Request{CommonName: "kube-apiserver", Hosts: append(service, loopback...)}},
		{"apiserver-kubelet-client", ca, pki.Request{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}}},
		{"controller-manager", ca, pki.Request{CommonName: "kube-controller-manager", Hosts: loopback}},
		{"scheduler", ca, pki.Request{CommonName: "kube-scheduler", Hosts: loopback}},
		{"etcd", etcd, pki.Request{CommonName: "etcd", Hosts: loopback}},
		{"apiserver-etcd-client", etcd, pki.Request{CommonName: "kube-apiserver"}},
		{"front-proxy-client", proxy, pki.Request{CommonName: "front-proxy-client"}},
	} {
		pair, err := p.by.Issue(p.req)
		if err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		if err := pair.Write(c.path("pki", p.name)); err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
	}
	if err := c.writeSigningKey(); err != nil {
		return err
	}
	return c.writeKubeconfigs(ca)
}

func (c *Cluster) authority(file, name string) (*pki.Authority, error) {
	ca, err := pki.NewAuthority(name)
	if err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	if err := os.WriteFile(c.path("pki", file+".crt"), ca.CertPEM(), 0o644); err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	return ca, nil
}

func (c *Cluster) writeSigningKey() error {
	private, public, err := pki.SigningKey()
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := errors.Join(os.WriteFile(c.path("pki", "sa.key"), private, 0o600), os.WriteFile(c.path("pki", "sa.pub"), public, 0o644)); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return nil
}

func (c *Cluster) writeKubeconfigs(ca *pki.Authority) error {
	for _, k := range []struct {
		path string
		user pki.Request
	}{
		{c.path("pki", "controller-manager.kubeconfig"), pki.Request{CommonName: "system:kube-controller-manager"}},
		{c.path("pki", "scheduler.kubeconfig"), pki.Request{CommonName: "system:kube-scheduler"}},
		{c.path(kubeconfigName), pki.Request{CommonName: "edgekit-admin", Organizations: []string{"system:masters"}}},
	} {
		pair, err := ca.Issue(k.user)
		if err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		config := pki.Kubeconfig{Server: c.server(), CA: ca.CertPEM(), User: pair}
		if err := config.Write(k.path); err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
	}
	return nil
}

func (c *Cluster) server() string {
	return fmt.Sprintf("https://127.0.0.1:%d", c.state.Ports.APIServer)
}
