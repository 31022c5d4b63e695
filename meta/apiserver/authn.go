package apiserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/internal/jwt"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Identity is the user that makes a request.
type Identity struct {
	User   string
	UID    string
	Groups []string
	Extra  map[string][]string

	node  bool   // the node itself or its administrator, who may read everything here
	token string // with which the API server knows a service account
	// expired is a token that is accepted here, since it could not be renewed, and not by the
	// API server.
	expired bool
}

// adminName is the common name of the administrator's certificate.
const adminName = "edgekit:node-admin"

// admin is the node's administrator. Whoever can read the node's files has its key and so
// its identity, therefore the administrator is the node's identity, here and in the cloud.
func admin(node string) Identity {
	return Identity{User: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"}, node: true}
}

// TokenGrace is how long after a reconnect tokens that expired while the node was offline
// are still accepted. Pods may need that long to get new ones.
const TokenGrace = 5 * time.Minute

// DefaultExpiredTokens is what Config.ExpiredTokens of 0 means.
const DefaultExpiredTokens = 30 * 24 * time.Hour

// authenticate finds out who makes a request. The client gets the error's text.
func (s *Server) authenticate(r *http.Request) (Identity, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return s.byCertificate(r.TLS.PeerCertificates)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token = strings.TrimSpace(token); !ok || token == "" {
		return Identity{}, errors.New("the request has no credentials: use a client certificate or the token of a service account")
	}
	return s.byToken(r.Context(), token)
}

// byCertificate accepts the certificates of the administrator and of the node.
func (s *Server) byCertificate(chain []*x509.Certificate) (Identity, error) {
	leaf := chain[0]
	options := x509.VerifyOptions{
		Roots: s.ca.pool(), CurrentTime: authorityBegin.Add(time.Hour), Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err == nil && leaf.Subject.CommonName == adminName {
		return admin(s.cfg.Node), nil
	}
	if s.cfg.NodeCAs != nil && leaf.Subject.CommonName == "system:node:"+s.cfg.Node && slices.Contains(leaf.Subject.Organization, "system:nodes") {
		options.Roots = s.cfg.NodeCAs()
		options.CurrentTime = s.cfg.Now()
		if s.lenient() && options.CurrentTime.After(leaf.NotAfter) {
			options.CurrentTime = leaf.NotAfter
		}
		if _, err := leaf.Verify(options); err == nil {
			return admin(s.cfg.Node), nil
		}
	}
	return Identity{}, errors.New("the certificate is neither this node's nor its administrator's")
}

// lenient reports whether expired tokens are accepted: while the node is offline no pod can
// get a new one, and just after a reconnect not every pod has one yet.
func (s *Server) lenient() bool {
	connected, since := s.cfg.Connected()
	return !connected || s.cfg.Now().Sub(since) < TokenGrace
}

// byToken accepts the token of a service account that a pod on this node uses. The cluster's
// issuer must have signed it, for the API server as audience, and bound it to a pod that is
// on this node. While no pod could renew its token, an expired one is accepted, for
// Config.ExpiredTokens at most.
func (s *Server) byToken(ctx context.Context, token string) (Identity, error) {
	return s.CheckToken(ctx, token)
}

// ErrPodGone is returned by CheckToken for a token whose pod is not, or no more, on this node,
// whether or not the token has expired.
var ErrPodGone = errors.New("the token's pod is not on this node")

// CheckToken returns who a service account token is of, by the same rules as for a request
// to the API: it is of a pod on this node. The token may be for one of the audiences instead
// of the API server. The client may get the error's text.
func (s *Server) CheckToken(ctx context.Context, token string, audiences ...string) (Identity, error) {
	issuer, keys, err := s.issuer(ctx)
	if err != nil {
		return Identity{}, err
	}
	claims, err := jwt.Verify(token, keys)
	if err != nil {
		return Identity{}, err
	}
	k := claims.Kubernetes
	switch {
	case claims.Issuer != issuer:
		return Identity{}, fmt.Errorf("the token's issuer is %.100q, which is not this cluster's", claims.Issuer)
	case !slices.Contains(claims.Audience, issuer) && !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(claims.Audience, a) }):
		return Identity{}, fmt.Errorf("the token's audience is not %s", strings.Join(append([]string{"the API server"}, audiences...), " or "))
	case k.Pod.Name == "" || k.Pod.UID == "" || k.ServiceAccount.Name == "":
		return Identity{}, errors.New("the token is not bound to a pod: only tokens of pods on this node are accepted")
	case claims.Subject != "system:serviceaccount:"+k.Namespace+":"+k.ServiceAccount.Name:
		return Identity{}, errors.New("the token's subject is not its service account")
	case claims.Expiry.IsZero():
		return Identity{}, errors.New("the token never expires: only tokens of pods on this node are accepted")
	}
	it, err := s.load(ctx, s.pods(), meta.Key{Resource: "pods", Namespace: k.Namespace, Name: k.Pod.Name})
	if err != nil && !errors.Is(err, errNotThere) {
		return Identity{}, errors.New("the node's store does not answer")
	}
	pod, ok := it.object.(*corev1.Pod)
	switch {
	case err != nil || !ok || string(pod.UID) != k.Pod.UID || account(pod) != k.ServiceAccount.Name:
		return Identity{}, ErrPodGone
	case s.cfg.Now().After(claims.Expiry.Time) && !s.lenient():
		return Identity{}, errors.New("the token has expired")
	case s.cfg.Now().After(claims.Expiry.Add(s.cfg.ExpiredTokens)):
		return Identity{}, fmt.Errorf("the token expired more than %s ago, which is the limit while the node is offline", s.cfg.ExpiredTokens)
	}
	return Identity{
		User: claims.Subject, UID: k.ServiceAccount.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + k.Namespace, "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {k.Pod.Name}, "authentication.kubernetes.io/pod-uid": {k.Pod.UID},
			"authentication.kubernetes.io/node-name": {s.cfg.Node},
		},
		token: token, expired: s.cfg.Now().After(claims.Expiry.Time),
	}, nil
}

// account is the service account that a pod runs as.
func account(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return "default"
	}
	return pod.Spec.ServiceAccountName
}

func (s *Server) pods() *served { return s.catalog.find("", "v1", "pods") }

// issuer reads the cluster's token issuer and its keys, which the cloud sent.
func (s *Server) issuer(ctx context.Context) (string, []jwt.Key, error) {
	record, err := s.cfg.Store.Get(ctx, meta.Down+wire.IssuerKey().Path())
	if errors.Is(err, meta.ErrNotFound) {
		return "", nil, errors.New("tokens cannot be checked: this node has not received the cluster's keys yet")
	}
	var issuer wire.Issuer
	var keys []jwt.Key
	if err == nil {
		var o meta.Object
		if o, err = meta.DecodeObject(meta.Down, record); err == nil {
			err = jsonlimit.Unmarshal(o.Body, &issuer)
		}
	}
	if err == nil {
		keys, err = jwt.ParseKeys(issuer.JWKS)
	}
	if err == nil && issuer.Issuer == "" {
		err = errors.New("the field issuer is empty")
	}
	if err != nil {
		s.cfg.Logger.Error("the cluster's keys cannot be read", "err", err)
		return "", nil, errors.New("tokens cannot be checked: the cluster's keys cannot be read")
	}
	return issuer.Issuer, keys, nil
}
