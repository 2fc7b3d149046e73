package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"

	"github.com/containers/image/v5/types"
)

// errPlain is the cause of a transfer that was given up because a redirect led
// out of TLS.
var errPlain = errors.New("the registry redirects to plain http, where anybody could read the credentials\nhint: if that is meant, name the host as insecure")

// guard returns a context under which no request is written to a connection
// without TLS, unless the reference's host may be reached so. A redirect keeps
// the credentials when only scheme and port change, and the container libraries
// offer no hook for redirects; a trace sees each connection before it is used.
func (s *source) guard(ctx context.Context) (context.Context, func()) {
	if s.named == nil || s.sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if _, ok := info.Conn.(*tls.Conn); !ok {
			cancel(errPlain)
			_ = info.Conn.Close()
		}
	}}
	return httptrace.WithClientTrace(ctx, trace), func() { cancel(nil) }
}
