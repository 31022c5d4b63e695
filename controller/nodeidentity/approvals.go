package nodeidentity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/join"
)

// SignerName is the signer of the CertificateSigningRequests by which machines wait for
// an approval. Who may approve and deny them has the verb approve on this signer, and the
// verb update on certificatesigningrequests/approval.
const SignerName = "edgekit.io/node"

// The annotations of such a CertificateSigningRequest.
const (
	annotationNode    = "edgekit.io/node"
	annotationAddress = "edgekit.io/address"
	annotationMachine = "edgekit.io/machine"
	annotationToken   = "edgekit.io/token"
	annotationSince   = "edgekit.io/since"
)

// The fields of a claim whose machine needed an approval. The cluster removes a
// CertificateSigningRequest after some time, decided or not: so the decision is kept here.
const (
	// fieldApproval is stateWaits or stateApproved.
	fieldApproval = "approval"
	// fieldSince is when the machine asked first.
	fieldSince = "approvalSince"

	stateWaits    = "waits"
	stateApproved = "approved"
)

// DefaultMaxWaiting is the default of Config.MaxWaiting.
const DefaultMaxWaiting = 1000

// Applied reports whether the machine asked for an approval, and still has the name.
func (s *Store) Applied(ctx context.Context, node, keyHash string) (bool, error) {
	if err := join.CheckNodeName(node); err != nil {
		return false, err
	}
	claim, err := s.claim(ctx, node)
	if err != nil || claim == nil {
		return false, err
	}
	return len(claim.Data[fieldApproval]) > 0 && slices.Contains(keysOf(claim), keyHash), nil
}

// Approved returns what an operator has decided about the machine. When it asks first it
// creates a CertificateSigningRequest, and again when the cluster has removed that.
func (s *Store) Approved(ctx context.Context, a join.Applicant) error {
	if err := checkHash(a.KeyHash); err != nil {
		return err
	}
	state, since, err := s.markWaiting(ctx, a)
	if err != nil || state == stateApproved {
		return err
	}
	csr, err := s.requests.Get(ctx, requestName(a.KeyHash), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return s.createRequest(ctx, a, since)
	}
	if err != nil {
		return fmt.Errorf("nodeidentity: look for the request of node %s: %w", a.Node, err)
	}
	w, ok := parseRequest(csr)
	if !ok || w.KeyHash != a.KeyHash || w.Node != a.Node {
		return fmt.Errorf("nodeidentity: certificatesigningrequest %s is not that of node %s: delete it", csr.Name, a.Node)
	}
	return s.applyDecision(ctx, w)
}

// applyDecision keeps what was decided about w, and returns it.
func (s *Store) applyDecision(ctx context.Context, w Waiting) error {
	switch w.decision {
	case certificatesv1.CertificateApproved:
		return s.updateClaim(ctx, w.Node, func(claim *corev1.Secret) (bool, error) {
			if !slices.Contains(keysOf(claim), w.KeyHash) {
				return false, &join.NameInUseError{Node: w.Node}
			}
			if string(claim.Data[fieldApproval]) == stateApproved {
				return false, nil
			}
			claim.Data[fieldApproval] = []byte(stateApproved)
			return true, nil
		})
	case certificatesv1.CertificateDenied:
		if _, err := s.revoke(ctx, w.Node, w.KeyHash, ReasonDenied); err != nil {
			return err
		}
		return join.ErrDenied
	}
	return join.ErrPending
}

// markWaiting writes on the claim that its machine waits, unless it is approved already.
func (s *Store) markWaiting(ctx context.Context, a join.Applicant) (state string, since time.Time, err error) {
	err = s.updateClaim(ctx, a.Node, func(claim *corev1.Secret) (bool, error) {
		if !slices.Contains(keysOf(claim), a.KeyHash) {
			return false, &join.NameInUseError{Node: a.Node}
		}
		state = string(claim.Data[fieldApproval])
		if state != "" {
			since, _ = time.Parse(time.RFC3339, string(claim.Data[fieldSince])) // for people only
			return false, nil
		}
		state, since = stateWaits, time.Now()
		claim.Data[fieldApproval] = []byte(stateWaits)
		claim.Data[fieldSince] = []byte(since.UTC().Format(time.RFC3339))
		return true, nil
	})
	if errors.Is(err, join.ErrIdentity) { // freed a moment ago
		err = &join.NameInUseError{Node: a.Node}
	}
	return state, since, err
}

// createRequest creates the CertificateSigningRequest of a, unless too many wait.
func (s *Store) createRequest(ctx context.Context, a join.Applicant, since time.Time) error {
	waiting, err := s.Waiting(ctx)
	if err != nil {
		return err
	}
	if len(waiting) >= s.cfg.MaxWaiting {
		return fmt.Errorf("%w: %d machines wait for an approval", join.ErrBusy, len(waiting))
	}
	_, err = s.requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: requestName(a.KeyHash), Annotations: map[string]string{
			annotationNode: a.Node, annotationAddress: a.Address, annotationMachine: a.Machine, annotationToken: a.Token,
			annotationSince: since.UTC().Format(time.RFC3339),
		}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: []byte(a.CSR), SignerName: SignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("nodeidentity: create the request of node %s: %w", a.Node, err)
	}
	return join.ErrPending
}

func requestName(keyHash string) string { return "edgekit-" + keyHash }

// Waiting is a machine that waits for an approval.
type Waiting struct {
	join.Applicant
	Since time.Time

	decision certificatesv1.RequestConditionType // empty: none
}

// Waiting lists the machines that wait for an approval, by node and key. It needs the
// right to list CertificateSigningRequests and no other.
func (s *Store) Waiting(ctx context.Context) ([]Waiting, error) {
	all, err := s.listRequests(ctx)
	return slices.DeleteFunc(all, func(w Waiting) bool { return w.decision != "" }), err
}

func (s *Store) listRequests(ctx context.Context) ([]Waiting, error) {
	list, err := s.requests.List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + SignerName})
	if err != nil {
		return nil, fmt.Errorf("nodeidentity: list the machines that wait: %w", err)
	}
	var out []Waiting
	for i := range list.Items {
		if w, ok := parseRequest(&list.Items[i]); ok {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b Waiting) int {
		return strings.Compare(a.Node+" "+a.KeyHash, b.Node+" "+b.KeyHash)
	})
	return out, nil
}

// parseRequest reads a CertificateSigningRequest; false for one that createRequest cannot
// have made.
func parseRequest(csr *certificatesv1.CertificateSigningRequest) (Waiting, bool) {
	block, _ := pem.Decode(csr.Spec.Request)
	if csr.Spec.SignerName != SignerName || block == nil {
		return Waiting{}, false
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return Waiting{}, false
	}
	sum := sha256.Sum256(req.RawSubjectPublicKeyInfo)
	w := Waiting{Applicant: join.Applicant{
		Node: csr.Annotations[annotationNode], KeyHash: hex.EncodeToString(sum[:]), CSR: string(csr.Spec.Request),
		Address: csr.Annotations[annotationAddress], Machine: csr.Annotations[annotationMachine], Token: csr.Annotations[annotationToken],
	}}
	// The time is for people only, so a damaged one is ignored.
	w.Since, _ = time.Parse(time.RFC3339, csr.Annotations[annotationSince])
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied {
			w.decision = c.Type
		}
	}
	return w, csr.Name == requestName(w.KeyHash) && join.CheckNodeName(w.Node) == nil
}

// ErrNotWaiting is the error of Decide for a name that no machine waits for.
var ErrNotWaiting = errors.New("nodeidentity: no machine waits for this name")

// Decision is what an operator decides about a machine that waits.
type Decision string

// The decisions.
const (
	Approve Decision = Decision(certificatesv1.CertificateApproved)
	Deny    Decision = Decision(certificatesv1.CertificateDenied)
)

// Decide approves or denies the machine that waits for a node's name. key, if not empty,
// is the beginning of the hash of its key. The caller needs the rights that SignerName
// names, and those to get and list CertificateSigningRequests; none to Secrets.
func (s *Store) Decide(ctx context.Context, node, key string, d Decision) (Waiting, error) {
	if d != Approve && d != Deny {
		return Waiting{}, fmt.Errorf("nodeidentity: a decision is %s or %s, not %q", Approve, Deny, d)
	}
	all, err := s.Waiting(ctx)
	if err != nil {
		return Waiting{}, err
	}
	all = slices.DeleteFunc(all, func(w Waiting) bool { return w.Node != node || !strings.HasPrefix(w.KeyHash, key) })
	switch {
	case len(all) == 0:
		return Waiting{}, fmt.Errorf("%w: %s", ErrNotWaiting, node)
	case len(all) > 1:
		return Waiting{}, fmt.Errorf("nodeidentity: %d machines wait for the name %s: say which by the beginning of its key's hash", len(all), node)
	}
	w := all[0]
	csr, err := s.requests.Get(ctx, requestName(w.KeyHash), metav1.GetOptions{})
	if err != nil {
		return Waiting{}, fmt.Errorf("nodeidentity: read the request of node %s: %w", node, err)
	}
	if now, ok := parseRequest(csr); !ok || now.Node != node || now.decision != "" {
		return Waiting{}, fmt.Errorf("%w: %s", ErrNotWaiting, node) // another operator was first
	}
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.RequestConditionType(d), Status: corev1.ConditionTrue, Reason: "Operator", Message: "decided with edgectl", LastUpdateTime: metav1.Now(),
	})
	if _, err := s.requests.UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{}); err != nil {
		return Waiting{}, fmt.Errorf("nodeidentity: decide about node %s: %w", node, err)
	}
	return w, nil
}

// KeepDecisions keeps the decisions about machines that have not asked since: the cluster
// removes a CertificateSigningRequest an hour after it was decided. cloudcore calls it
// every few minutes; several may do so at once.
func (s *Store) KeepDecisions(ctx context.Context) error {
	all, err := s.listRequests(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range all {
		if w.decision == "" { // most wait: they cost no further call
			continue
		}
		claim, err := s.claim(ctx, w.Node)
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case claim == nil || !slices.Contains(keysOf(claim), w.KeyHash) || string(claim.Data[fieldApproval]) != stateWaits:
			continue
		}
		if err := s.applyDecision(ctx, w); err != nil && !errors.Is(err, join.ErrDenied) && !errors.Is(err, join.ErrNameInUse) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// isAbandoned reports whether the claim is of a machine that waits no more: its request
// was denied, or the cluster removed it after a day in which the machine has not asked.
func (s *Store) isAbandoned(ctx context.Context, claim *corev1.Secret) (bool, error) {
	if string(claim.Data[fieldApproval]) != stateWaits {
		return false, nil
	}
	csr, err := s.requests.Get(ctx, requestName(string(claim.Data[fieldKey])), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("nodeidentity: look for the request of node %s: %w", claim.Data[fieldNode], err)
	}
	w, ok := parseRequest(csr)
	if ok && w.decision == certificatesv1.CertificateDenied {
		_, err := s.revoke(ctx, w.Node, w.KeyHash, ReasonDenied)
		return true, err
	}
	return false, nil
}
