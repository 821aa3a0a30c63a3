package peers;

import java.util.HexFormat;

/** One JSON object a line on standard output. */
final class Lines {

    private Lines() {
    }

    /** Names and values by turns; numbers and booleans as they are, bytes in hexadecimal, all else as text. */
    static synchronized void print(String event, Object... namesAndValues) {
        StringBuilder line = new StringBuilder("{\"event\":").append(quoted(event));
        for (int i = 0; i < namesAndValues.length; i += 2) {
            line.append(',').append(quoted((String) namesAndValues[i])).append(':');
            Object value = namesAndValues[i + 1];
            if (value == null || value instanceof Number || value instanceof Boolean) {
                line.append(value);
            } else if (value instanceof byte[] bytes) {
                line.append(quoted(HexFormat.of().formatHex(bytes)));
            } else {
                line.append(quoted(value.toString()));
            }
        }
        System.out.println(line.append('}'));
        System.out.flush();
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                quoted.append('\\').append(letter);
            } else if (letter < ' ') {
                quoted.append(String.format("\\u%04x", (int) letter));
            } else {
                quoted.append(letter);
            }
        }
        return quoted.append('"').toString();
    }
}
