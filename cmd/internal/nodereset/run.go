package nodereset

import (
	"context"
	"errors"
	"fmt"
)

// ErrLeft says that something could not be removed.
var ErrLeft = errors.New("nodereset: not all was removed")

// Run removes the items in their order, and calls report after each. An item that cannot be
// removed does not keep the others, but for the data, whose pods must have ended, and the
// identity, which a repeated reset needs. A certificate that cannot be revoked keeps nothing:
// it can be revoked by the node's name. The error wraps ErrLeft.
func (p *Plan) Run(ctx context.Context, report func(Item, error)) error {
	left, needed, podsLeft := 0, false, false
	for _, i := range p.items {
		var err error
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case podsLeft && i.Kind == "data":
			err = errors.New("kept: containers that use it are left")
		case needed && (i.Kind == "identity" || i.Kind == "certificate"):
			err = errors.New("kept: something else is left, and the next reset needs it")
		default:
			err = i.remove(ctx)
		}
		if err != nil {
			left++
			needed = needed || i.Kind != "certificate"
			podsLeft = podsLeft || i.Kind == "pod" || i.Kind == "service"
		}
		report(i, err)
	}
	if left > 0 {
		return fmt.Errorf("%w: %d of %d items are left", ErrLeft, left, len(p.items))
	}
	return nil
}
