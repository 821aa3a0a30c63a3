package peers;

import java.util.HexFormat;
import java.util.concurrent.TimeUnit;

import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.core.util.datatype.ULong;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coaps.CoapsClientProtocolProvider;

/**
 * What a device shows to be let in, as one word: {@code nosec}, {@code psk:IDENTITY:KEY},
 * {@code rpk:PUBLIC:PRIVATE:SERVER} or {@code x509:CERTIFICATE:PRIVATE:SERVER[:USAGE]}, all in hexadecimal, keys
 * and certificates in DER.
 */
final class Credentials {

    private final String[] parts;

    Credentials(String word) {
        parts = word.split(":");
    }

    private byte[] bytes(int part) {
        return HexFormat.of().parseHex(parts[part]);
    }

    /** The security object instance of a server with that short id. */
    Security security(String uri, int shortServerId) {
        return switch (parts[0]) {
        case "nosec" -> Security.noSec(uri, shortServerId);
        case "psk" -> Security.psk(uri, shortServerId, bytes(1), bytes(2));
        case "rpk" -> Security.rpk(uri, shortServerId, bytes(1), bytes(2), bytes(3));
        case "x509" -> parts.length > 4
                ? Security.x509(uri, shortServerId, bytes(1), bytes(2), bytes(3), ULong.valueOf(parts[4]))
                : Security.x509(uri, shortServerId, bytes(1), bytes(2), bytes(3));
        default -> throw new IllegalArgumentException(parts[0]);
        };
    }

    /** The security object instance of a bootstrap server. */
    Security bootstrap(String uri) {
        return switch (parts[0]) {
        case "nosec" -> Security.noSecBootstrap(uri);
        case "psk" -> Security.pskBootstrap(uri, bytes(1), bytes(2));
        case "rpk" -> Security.rpkBootstrap(uri, bytes(1), bytes(2), bytes(3));
        case "x509" -> Security.x509Bootstrap(uri, bytes(1), bytes(2), bytes(3));
        default -> throw new IllegalArgumentException(parts[0]);
        };
    }

    /**
     * Californium over UDP with and without DTLS; with a Connection ID (RFC 9146) when the server gives one. It gives
     * up after a minute of silence, or after some seconds when {@code PEERS_ACK_TIMEOUT_MS} says how long to wait
     * for the first answer.
     */
    static CaliforniumClientEndpointsProvider endpoints() {
        CaliforniumClientEndpointsProvider.Builder builder = new CaliforniumClientEndpointsProvider.Builder(
                new CoapClientProtocolProvider(), new CoapsClientProtocolProvider());
        Configuration configuration = builder.createDefaultConfiguration();
        // 0: none of its own, as a client is found by its address here; the server's is used.
        configuration.set(DtlsConfig.DTLS_CONNECTION_ID_LENGTH, 0);
        String wait = System.getenv("PEERS_ACK_TIMEOUT_MS");
        if (wait != null) {
            configuration.set(CoapConfig.ACK_TIMEOUT, Long.parseLong(wait), TimeUnit.MILLISECONDS);
            configuration.set(CoapConfig.MAX_RETRANSMIT, 2);
        }
        builder.setConfiguration(configuration);
        return builder.build();
    }
}
