package codec

import "errors"

func asLimit(err error, limit **LimitError) bool { return errors.As(err, limit) }
