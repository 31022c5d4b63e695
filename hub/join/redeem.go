package join

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func (h *Handler) joinOnce(ctx context.Context, req joinRequest, now time.Time) (outcome, error) {
	if err := CheckNodeName(req.Node); err != nil {
		return outcome{}, err
	}
	out := outcome{node: req.Node}
	pub, keyHash, err := parseCSR(req.CSR)
	if err != nil {
		return out, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return out, err
	}
	defer leave()
	if err := h.redeem(ctx, req, keyHash, now); err != nil {
		return out, err
	}
	return h.issue(ctx, pub, out)
}

// redeem uses the token and claims the name, both or neither, and asks for approval
// where that is required. The name comes first: if it is taken, the token stays good for
// another name.
func (h *Handler) redeem(ctx context.Context, req joinRequest, keyHash string, now time.Time) error {
	rec, err := h.cfg.Tokens.Token(ctx, req.ID)
	if err == nil {
		err = rec.check(req.Secret, req.Node, keyHash, now)
	}
	if err != nil {
		applied, lookErr := h.applied(ctx, req.Node, keyHash, err)
		if lookErr != nil {
			return lookErr
		}
		if !applied {
			return err
		}
	}
	if err := h.revoked(ctx, keyHash); err != nil {
		return err
	}
	if err == nil {
		if err := h.claim(ctx, req, rec, keyHash); err != nil {
			return err
		}
		if !h.cfg.ApproveAll && !rec.Approve {
			return nil
		}
	}
	if h.cfg.Approvals == nil {
		return fmt.Errorf("%w: token %s requires an approval, and HandlerConfig.Approvals is nil", ErrServer, req.ID)
	}
	return h.cfg.Approvals.Approved(ctx, Applicant{
		Node: req.Node, KeyHash: keyHash, CSR: req.CSR, Address: host(req.from), Machine: printable(req.Machine, maxMachine),
		Token: printable(req.ID, maxTokenID), // of a token that is over it may be anything
	})
}

// applied reports whether a machine whose token is over, or deleted, has applied with it
// before: an approval may take longer than a token is valid. Its key is the proof.
func (h *Handler) applied(ctx context.Context, node, keyHash string, why error) (bool, error) {
	if h.cfg.Approvals == nil || !errors.Is(why, ErrTokenExpired) && !errors.Is(why, ErrTokenInvalid) {
		return false, nil
	}
	return h.cfg.Approvals.Applied(ctx, node, keyHash)
}

// claim gives the name to the key and uses the token, or neither.
func (h *Handler) claim(ctx context.Context, req joinRequest, rec Record, keyHash string) error {
	if f, ok := h.cfg.Names.(FreedNames); ok && rec.pattern() {
		freed, err := f.Freed(ctx, req.Node)
		if err != nil {
			return err
		}
		if freed {
			return fmt.Errorf("%w: it is for %q, and the name %s was another machine's: create a token for that name alone", ErrTokenNode, rec.Nodes, req.Node)
		}
	}
	fresh, err := h.cfg.Names.Claim(ctx, req.Node, keyHash)
	if err != nil {
		return err
	}
	err = h.cfg.Tokens.Use(ctx, req.ID, req.Node, keyHash)
	if err != nil && fresh {
		if undo := h.cfg.Names.Release(ctx, req.Node, keyHash); undo != nil {
			return errors.Join(err, undo)
		}
	}
	return err
}
