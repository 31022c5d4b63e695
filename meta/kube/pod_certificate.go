package kube

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// certificateArea holds keys and certificates of pods: certificateArea + UID/VOLUME/SOURCE.
const certificateArea = meta.Local + "podcertificates/"

const (
	// certificateRetry is when a certificate is asked for again that is not issued, or
	// could not be renewed.
	certificateRetry = 30 * time.Second
	// refusalLife is how long a signer's refusal counts.
	refusalLife = time.Hour
	// refreshSpread is how much later than asked a certificate is renewed, at most: a
	// signer is not asked by all pods at once.
	refreshSpread = 5 * time.Minute
)

// storedCertificate is the value of a record: what is in use, what was asked for, and why
// it was refused.
type storedCertificate struct {
	Key       []byte              `json:"key,omitempty"` // PEM
	Chain     []byte              `json:"chain,omitempty"`
	Asked     time.Time           `json:"asked,omitzero"` // by this node's clock, as all times here
	RefreshAt time.Time           `json:"refreshAt,omitzero"`
	Next      *pendingCertificate `json:"next,omitempty"`
	Refused   string              `json:"refused,omitempty"` // why
	RefusedAt time.Time           `json:"refusedAt,omitzero"`
}

// pendingCertificate is a request that the signer has not answered.
type pendingCertificate struct {
	Name  string    `json:"name"` // of the PodCertificateRequest
	Key   []byte    `json:"key"`
	Asked time.Time `json:"asked"`
}

// bundle is the key and the chain.
func (s *storedCertificate) bundle() []byte {
	if len(s.Chain) == 0 {
		return nil
	}
	return bytes.Join([][]byte{s.Key, s.Chain}, nil)
}

// due reports whether the certificate must be renewed. One from the future must: the
// clock was set back.
func (s *storedCertificate) due(now time.Time) bool {
	return len(s.Chain) == 0 || now.Before(s.Asked) || !now.Before(s.RefreshAt)
}

// refused reports whether the signer's refusal still counts.
func (s *storedCertificate) refused(now time.Time) bool {
	return s.Refused != "" && !now.Before(s.RefusedAt) && now.Before(s.RefusedAt.Add(refusalLife))
}

// certificateRequest is what a node sends and reads of a PodCertificateRequest.
type certificateRequest struct {
	Metadata struct {
		Name              string      `json:"name,omitempty"`
		CreationTimestamp metav1.Time `json:"creationTimestamp,omitzero"`
	} `json:"metadata"`
	Spec struct {
		SignerName           string            `json:"signerName,omitempty"`
		PodUID               types.UID         `json:"podUID,omitempty"`
		MaxExpirationSeconds *int32            `json:"maxExpirationSeconds,omitempty"`
		StubPKCS10Request    []byte            `json:"stubPKCS10Request,omitempty"`
		UserAnnotations      map[string]string `json:"unverifiedUserAnnotations,omitempty"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"conditions,omitempty"`
		CertificateChain string       `json:"certificateChain,omitempty"`
		BeginRefreshAt   *metav1.Time `json:"beginRefreshAt,omitempty"`
	} `json:"status,omitzero"`
}

// PodCertificate gives the key and the certificate chain, in PEM and in this order, of a
// source with podCertificate of a projected volume of a pod, and when to ask again. The key
// is made here and stays here. Until the signer's time to refresh comes they are read from
// the store. Then another key is made; until it has a certificate, or while the cloud is out
// of reach, the last ones stay in use.
//
// An error without a bundle says that there is none: yet, or for an hour because the signer
// refused. One with a bundle says that the signer refused to renew it.
func (c *Client) PodCertificate(ctx context.Context, pod *corev1.Pod, volume string, source int) (bundle []byte, again time.Time, err error) {
	want := certificateSource(pod, volume, source)
	if want == nil {
		return nil, time.Time{}, fmt.Errorf("meta/kube: pod certificate: volume %q has no source %d with podCertificate", volume, source)
	}
	key := certificateArea + string(pod.UID) + "/" + volume + "/" + strconv.Itoa(source)
	s, err := c.storedCertificate(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := c.cfg.Now()
	if !s.due(now) {
		return s.bundle(), s.RefreshAt, nil
	}
	if !s.refused(now) {
		err = c.advanceCertificate(ctx, key, pod, want, &s)
		now = c.cfg.Now()
	}
	switch refused := s.refused(now); {
	case err == nil && !s.due(now):
		return s.bundle(), s.RefreshAt, nil
	case err == nil && refused:
		return s.bundle(), s.RefusedAt.Add(refusalLife), fmt.Errorf("meta/kube: pod certificate: %s; the node asks again after %s", s.Refused, refusalLife)
	case err == nil && len(s.Chain) == 0:
		return nil, time.Time{}, fmt.Errorf("meta/kube: pod certificate: the signer %s has not issued it yet: see the PodCertificateRequest %s/%s", want.SignerName, pod.Namespace, s.Next.Name)
	case len(s.Chain) > 0:
		if err != nil {
			c.log.Warn("certificate of a pod is not renewed; the last one stays in use", "namespace", pod.Namespace, "pod", pod.Name, "signer", want.SignerName, "err", err)
		}
		return s.bundle(), now.Add(certificateRetry), nil
	}
	return nil, time.Time{}, err
}

// certificateSource finds a source with podCertificate; nil if there is none.
func certificateSource(pod *corev1.Pod, volume string, source int) *corev1.PodCertificateProjection {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name == volume && v.Projected != nil && source >= 0 && source < len(v.Projected.Sources) {
			return v.Projected.Sources[source].PodCertificate
		}
	}
	return nil
}

// advanceCertificate asks for a certificate, or what became of the request, and stores
// what it learns.
func (c *Client) advanceCertificate(ctx context.Context, key string, pod *corev1.Pod, want *corev1.PodCertificateProjection, s *storedCertificate) error {
	if s.Next != nil {
		var request certificateRequest
		request.Metadata.Name = s.Next.Name
		got, err := c.askCertificate(ctx, pod, request)
		if err == nil {
			return c.noteCertificate(ctx, key, pod, s, got)
		}
		if !errors.Is(err, meta.ErrNotFound) {
			return err
		}
		s.Next = nil // it was deleted: another is made
	}
	pemKey, proof, err := newPodKey(want.KeyType)
	if err != nil {
		return fmt.Errorf("meta/kube: pod certificate: %w", err)
	}
	var request certificateRequest
	request.Spec.SignerName, request.Spec.PodUID, request.Spec.StubPKCS10Request = want.SignerName, pod.UID, proof
	request.Spec.MaxExpirationSeconds, request.Spec.UserAnnotations = want.MaxExpirationSeconds, want.UserAnnotations
	next := &pendingCertificate{Key: pemKey, Asked: c.cfg.Now()}
	got, err := c.askCertificate(ctx, pod, request)
	if err != nil {
		return err
	}
	next.Name = got.Metadata.Name
	s.Next = next
	return c.noteCertificate(ctx, key, pod, s, got)
}

// askCertificate sends a request to the cloud and reads the answer.
func (c *Client) askCertificate(ctx context.Context, pod *corev1.Pod, request certificateRequest) (certificateRequest, error) {
	key := meta.Key{Resource: resources.PodCertificateRequests, Namespace: pod.Namespace, Name: pod.Name}
	body, err := json.Marshal(request)
	if err != nil {
		return request, fmt.Errorf("meta/kube: pod certificate: %w", err)
	}
	answer, err := c.cfg.Manager.Query(ctx, meta.Object{Key: key, Body: body})
	if err != nil {
		return request, wrap(key, err)
	}
	var got certificateRequest
	if err := jsonlimit.Unmarshal(answer.Body, &got); err != nil || got.Metadata.Name == "" {
		return request, fmt.Errorf("meta/kube: %s: the cloud's answer is no request: %w", key, cmp.Or(err, errors.New("it is empty")))
	}
	return got, nil
}

// noteCertificate stores what became of the pending request.
func (c *Client) noteCertificate(ctx context.Context, key string, pod *corev1.Pod, s *storedCertificate, got certificateRequest) error {
	for _, cond := range got.Status.Conditions {
		switch cond.Type {
		case "Issued":
			chain := cleanChain(got.Status.CertificateChain)
			if len(chain) == 0 {
				return fmt.Errorf("meta/kube: PodCertificateRequest %s/%s is issued and has no certificate", pod.Namespace, got.Metadata.Name)
			}
			*s = storedCertificate{Key: s.Next.Key, Chain: chain, Asked: s.Next.Asked, RefreshAt: s.Next.Asked.Add(refreshAfter(got))}
		case "Denied", "Failed":
			verb := map[string]string{"Denied": "was denied", "Failed": "failed"}[cond.Type]
			s.Refused = fmt.Sprintf("PodCertificateRequest %s/%s %s: reason=%q message=%q: mend the podCertificate source of the pod, or ask who runs the signer", pod.Namespace, got.Metadata.Name, verb, cond.Reason, cond.Message)
			s.RefusedAt, s.Next = c.cfg.Now(), nil
		default:
			continue
		}
		break
	}
	value, err := json.Marshal(s)
	if err == nil {
		_, err = c.cfg.Store.Apply(ctx, meta.Op{Key: key, Value: value})
	}
	if err != nil {
		return fmt.Errorf("meta/kube: store pod certificate: %w", err)
	}
	return nil
}

// refreshAfter is how long after the request a certificate is renewed. Both times are of
// the cloud's clock, which may differ from this node's.
func refreshAfter(got certificateRequest) time.Duration {
	after := time.Hour // the least that a signer may say
	if at := got.Status.BeginRefreshAt; at != nil && !got.Metadata.CreationTimestamp.IsZero() {
		after = max(at.Sub(got.Metadata.CreationTimestamp.Time), time.Minute)
	}
	return after + rand.N(min(refreshSpread, after/10+1))
}

// cleanChain gives the certificates of a PEM text without anything between them.
func cleanChain(text string) []byte {
	var out []byte
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Bytes})...)
	}
}

func (c *Client) storedCertificate(ctx context.Context, key string) (storedCertificate, error) {
	r, err := c.cfg.Store.Get(ctx, key)
	if errors.Is(err, meta.ErrNotFound) {
		return storedCertificate{}, nil
	}
	if err != nil {
		return storedCertificate{}, fmt.Errorf("meta/kube: %w", err)
	}
	var s storedCertificate
	if err := json.Unmarshal(r.Value, &s); err != nil {
		c.log.Warn("stored certificate of a pod cannot be read; another is asked for", "key", key, "err", err)
		return storedCertificate{}, nil
	}
	return s, nil
}
