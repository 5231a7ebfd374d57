//! Opens the byte stream to a server: TCP, TLS or a unix socket.
//!
//! The TLS settings are made here and not by the client library, which would install a default
//! cryptography provider for the whole process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A stream to a server.
pub(super) type Stream = Pin<Box<dyn ReadWrite>>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// How a server answers a new connection that is not used as it expects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It sends this error to each new connection, for example because it has too many.
    Error(String),
    /// It answers without TLS.
    Plain,
    /// It answers in TLS.
    Tls,
}

/// How long a greeting may take.
const GREETING_WITHIN: Duration = Duration::from_millis(250);
/// How much of it is read, in bytes.
const MAX_GREETING: u64 = 512;

/// Opens a stream. A name is looked up each time.
pub(super) async fn open(address: &ConnectionAddr, with_tls: bool) -> std::io::Result<Stream> {
    match address {
        ConnectionAddr::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // Calls that are ready together are written together. What is written must not wait
            // until the server has confirmed the call before it.
            stream.set_nodelay(true)?;
            if !with_tls {
                return Ok(Box::pin(stream));
            }
            // Read for each connection, since the authorities may change.
            let found = rustls_native_certs::load_native_certs();
            if let Some(error) = found.errors.first() {
                let text = format!("cannot read the trusted certificates: {error}");
                return Err(std::io::Error::other(text));
            }
            Ok(Box::pin(handshake(host, stream, found.certs).await?))
        }
        _ => Err(std::io::Error::other("an address of this kind is not supported")),
    }
}

/// Opens another connection to see why one failed that was opened with or without TLS.
pub(super) async fn greeting(address: &ConnectionAddr, with_tls: bool) -> Option<Greeting> {
    let ConnectionAddr::Tcp(host, port) = address else { return None };
    let plain = async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
        if with_tls {
            // A server without TLS answers it, or refuses it for want of a password.
            stream.write_all(b"PING\r\n").await.ok()?;
        }
        let mut line = String::new();
        BufReader::new(stream.take(MAX_GREETING)).read_line(&mut line).await.ok()?;
        match line.strip_prefix('-') {
            Some(error) if with_tls && error.starts_with("NOAUTH") => Some(Greeting::Plain),
            Some(error) => Some(Greeting::Error(error.trim_end().to_owned())),
            None => line.starts_with("+PONG").then_some(Greeting::Plain),
        }
    };
    if let Ok(Some(plain)) = tokio::time::timeout(GREETING_WITHIN, plain).await {
        return Some(plain);
    }
    let tls = async {
        let stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
        let refused = handshake(host, stream, Vec::new()).await.err()?;
        let refused = refused.get_ref()?.downcast_ref::<Error>()?;
        // It trusts no certificate. An alert comes from a server that speaks TLS, too.
        let is_tls = matches!(refused, Error::InvalidCertificate(_) | Error::AlertReceived(_));
        is_tls.then_some(Greeting::Tls)
    };
    if with_tls { None } else { tokio::time::timeout(GREETING_WITHIN, tls).await.ok().flatten() }
}

async fn handshake(
    host: &str,
    stream: TcpStream,
    trusted: Vec<CertificateDer<'static>>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = config(trusted).map_err(std::io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The TLS settings of a client that trusts these certificates and those that they have signed.
fn config(trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    // The provider of the program, if it has installed one.
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions()?;
    if roots.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let inner = inner.map_err(|error| Error::General(error.to_string()))?;
    let verifier = Arc::new(Verifier { inner, trusted });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Verifies certificates as usual, and also accepts one that is itself trusted, as other clients
/// do: a self-signed certificate, which is an authority too.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // The dates are checked before this.
            Err(Error::InvalidCertificate(CertificateError::Other(other)))
                if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
                    && self.trusted.contains(certificate) =>
            {
                let parsed = ParsedCertificate::try_from(certificate)?;
                rustls::client::verify_server_name(&parsed, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
